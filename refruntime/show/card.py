"""The card of a build for people: what it has, how it names things, what it chose, what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from refruntime.contract.profile import Profile
from refruntime.identify.identification import Evidence, Identification, Learnt

WIDTH: Final = 16
MOST_NAMES: Final = 8
Section = tuple[str, Sequence[tuple[str, str]]]


def card_sections(found: Identification) -> Iterator[Section]:
    """Yield the parts of the card: a title, and rows of a name and what is said of it."""
    yield "build", [("file", f"{found.build}, {found.size} bytes"), ("sha256", found.sha256)]
    if found.problem:
        rows = [("problem", found.problem), *(("tried", text) for text in found.tried)]
        yield "not identified", rows
        return
    yield "checksum", _checksum(found)
    yield "features", _features(found)
    yield "diagnostics", _fields(found)
    texts = [(f"{int(status)} {status.name}", _text(text.text, text.others)) for status, text in found.texts.items()]
    own = all(text.text == status.message and not text.others for status, text in found.texts.items())
    yield "messages", [("all", f"the contract's own ({len(texts)} seen)")] if own and texts else texts
    for title, status in (("options observed", "observed"), ("options assumed", "assumed")):
        rows = [row for item in found.learnt if item.status == status for row in _option(item)]
        if rows:
            yield title, rows
    if found.bugs:
        yield "bugs", [row for bug in found.bugs for row in ((bug.rule, bug.line), *map(_example, bug.evidence[:1]))]
    yield "asked", [("", f"{found.experiments} sessions, {found.calls} calls, {found.seconds:.1f} s")]


def card_text(found: Identification) -> str:
    """Return the card for a terminal."""
    lines = []
    for title, rows in card_sections(found):
        lines.append(title)
        width = min(max((len(name) for name, _ in rows), default=0), 28)
        lines += [f"  {name:<{width}}  {text}".rstrip() for name, text in rows]
    lines.append(verdict(found))
    return "\n".join(lines)


def card_html(found: Identification) -> str:
    """Return the card as one HTML page that loads nothing."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{escape(found.build)}: what this build is</title>",
        "<style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;"
        "padding:0 1em}th{text-align:left;vertical-align:top;padding-right:1.5em;font-weight:600;white-space:nowrap}"
        "td{overflow-wrap:anywhere}h2{font-size:1.05em;margin-bottom:.3em}</style>",
        f"<h1>{escape(found.build)}</h1><p>{escape(verdict(found))}</p>",
    ]
    for title, rows in card_sections(found):
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
        parts.append(f"<h2>{escape(title)}</h2><table>{cells}</table>")
    return "".join(parts) + "</html>\n"


def verdict(found: Identification) -> str:
    """Return the one sentence that says how far the build is understood."""
    if found.problem:
        return f"not identified: {found.problem}"
    assumed = sum(item.status == "assumed" for item in found.learnt)
    observed = len(found.learnt) - assumed
    text = f"{observed} options observed, {assumed} assumed because no experiment tells them"
    if not found.bugs:
        return f"identified: {text}; nothing contradicts the contract"
    count = len(found.bugs)
    broken = "1 rule is broken" if count == 1 else f"{count} rules are broken"
    return f"identified: {text}; {broken}, which is no option of any rule"


def _checksum(found: Identification) -> list[tuple[str, str]]:
    if found.checksum is None:
        return []
    return [(found.checksum.status, found.checksum.text), *(("", text) for text in found.checksum.evidence)]


def _features(found: Identification) -> list[tuple[str, str]]:
    if found.features is None:
        return []
    has = [name for name in found.features.asked if name not in found.features.absent]
    rows = [("has", ", ".join(has) or "none of those asked for")]
    groups: dict[str, list[str]] = {}
    for name, status in found.features.absent.items():
        groups.setdefault(f"{name.rpartition('/')[0] or name} ({status.name})", []).append(name.rpartition("/")[2])
    rows += [("has not", f"{group}: {_listed(names)}") for group, names in groups.items()]
    return rows


def _listed(names: Sequence[str]) -> str:
    """Return names, of many the first ones and how many more; the JSON document has all."""
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"


def _fields(found: Identification) -> list[tuple[str, str]]:
    rows = []
    for name, item in found.fields.items():
        if name == "logits_summary" and item.reason == "in parts":
            continue
        if item.status == "absent":
            text = f"not there: {item.reason}"
        else:
            where = f"at {item.place}" if item.place != name else "by its own name"
            text = where + (f", {item.form}" if item.form else "") + (f" ({item.reason})" if item.reason else "")
            text += "" if item.status == "observed" else ", assumed"
        if text != "by its own name":
            rows.append((name, text))
    return rows or [("all", "as in the contract")]


def _text(text: str, others: object) -> str:
    return repr(text) + (f", but also {others}" if others else "")


def _option(item: Learnt) -> Iterator[tuple[str, str]]:
    default = getattr(Profile(), Profile.attributes()[item.key])
    mark = "" if item.value == default else "  (not the default)"
    if item.status == "assumed":
        yield item.key, f"{item.value}: {item.reason}"
    else:
        shown = item.evidence[0] if item.evidence else None
        proof = f"   [{shown.case} step {shown.step}]" if shown is not None else ""
        yield item.key, f"{item.value}{mark}{proof}"


def _example(item: Evidence) -> tuple[str, str]:
    text = (
        f"{item.case} step {item.step} {item.call}: {item.field} is {item.found!r}, the contract says {item.expected!r}"
    )
    return ("", text)
