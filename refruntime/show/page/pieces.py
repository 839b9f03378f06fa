"""The pieces that pages are made of. Text is escaped here, and here only; nothing of it controls or loads anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from refruntime.contract.rules import load_rules
from refruntime.show.page.style import POLICY, SCRIPT, STYLE
from refruntime.visible import printable


def text(value: object) -> str:
    """Return a value as text of a page, in which everything shows."""
    return escape(printable(str(value)))


def code(value: object) -> str:
    """Return a value as text of fixed width, apart from its neighbours' direction of writing."""
    return f"<bdi><code>{text(value)}</code></bdi>"


def columns_text(line: str) -> str:
    """Return a line of a report for terminals, whose columns lie apart, as text that folds."""
    return text("; ".join(re.split(r"\s{2,}", line.strip())))


def rule_text(identifier: str) -> str:
    """Return a rule of the contract in full, its back quotes and asterisks as what they mean; no rule as nothing."""
    rule = load_rules().get(identifier)
    said = "" if rule is None else " ".join(rule.text.split())
    parts = [code(part) if place % 2 else text(part).replace("*", "\0") for place, part in enumerate(said.split("`"))]
    return _EMPHASIS.sub(r"<em>\1</em>", "".join(parts)).replace("\0", "*")


_EMPHASIS: Final = re.compile(r"(?<![^\s(])\0(?=\S)(.*?)(?<=\S)\0")
"""Text between asterisks, code in it included; one between spaces multiplies, one behind a name belongs to it."""


def parted(one: str, other: str) -> tuple[str, str]:
    """Return two values as code; texts are marked from where they part."""
    if not (one.startswith('"') and other.startswith('"')):
        return code(one), code(other)
    equal = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))

    def marked(value: str) -> str:
        rest = f"<mark>{text(value[equal:])}</mark>" if value[equal:] else ""
        return f"<bdi><code>{text(value[:equal])}{rest}</code></bdi>"

    return marked(one), marked(other)


def page(title: str, parts: Iterable[str]) -> bytes:
    """Return a whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<title>{text(title)}</title>\n<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f"{chr(10).join(part for part in parts if part)}\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    ).encode("utf-8", "backslashreplace")


def section(title: str, *parts: str) -> str:
    """Return a part of a page under its title; nothing where there is nothing to say."""
    content = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{text(title)}</h2>\n{content}\n</section>" if content else ""


def paragraph(content: object, kind: str = "") -> str:
    """Return a paragraph."""
    return f'<p class="{kind}">{text(content)}</p>' if kind else f"<p>{text(content)}</p>"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Return a table of finished cells; the columns `numbers` stand on the right. It scrolls where it is too wide."""

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = ["number" if place in numbers else "text" for place in range(len(cells))]
        return "".join(f'<{tag} class="{kind}">{cell}</{tag}>' for cell, kind in zip(cells, kinds, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>\n" for row in rows)
    head = f"<thead><tr>{line([text(heading) for heading in headings], 'th')}</tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def bar(shares: Sequence[tuple[str, float, str]], whole: float) -> str:
    """Return a bar of (kind, size, label) beside each other; `whole` is the size that fills it."""
    spans = "".join(
        f'<span class="{kind}" style="width:{100 * size / whole:.4g}%"></span>'
        for kind, size, _ in shares
        if size > 0 and whole > 0
    )
    said = ", ".join(label for _, _, label in shares if label)
    return f'<div class="bar" role="img" aria-label="{text(said)}">{spans}</div>'


def sides(rows: Iterable[tuple[str, str, str]], names: tuple[str, str] = ("oracle", "build")) -> str:
    """Return rows of (label, one value, the other): beside each other, below each other on a narrow screen."""
    cells = [f'<span class="head"></span><span class="head">{names[0]}</span><span class="head">{names[1]}</span>']
    for label, one, other in rows:
        left, right = parted(one, other)
        cells.append(
            f'<span class="key quiet">{text(label)}</span>'
            f"<span><b>{names[0]}</b>{left}</span><span><b>{names[1]}</b>{right}</span>"
        )
    return f'<div class="sides">{chr(10).join(cells)}</div>'


def command(words: str) -> str:
    """Return a command to copy."""
    return f'<div class="command"><code>{text(words)}</code><button type="button" data-copy>Copy</button></div>'


def folded(title: str, *parts: str) -> str:
    """Return parts that open when their title is pressed."""
    return f"<details><summary>{title}</summary>\n{chr(10).join(parts)}\n</details>"


def preformatted(lines: Iterable[str]) -> str:
    """Return lines as they are."""
    return f"<pre>{text(chr(10).join(lines))}</pre>"
