"""Settings of the documentation site: `make docs-site` builds it offline, and a warning is an error."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import refruntime  # noqa: E402

project = "refruntime"
author = "the refruntime authors"
release = version = refruntime.__version__
html_title = f"refruntime {release}"
html_theme = "furo"
html_show_copyright = False
html_copy_source = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

# Pages that lie elsewhere in the repository are included by pages here; links to them lead there.
ELSEWHERE = {
    "](../golden/FORMAT.md": "](golden-format.md",
    "](../docs/": "](",
    "](docs/": "](",
}


def to_pages(text: str) -> str:
    """Return Markdown whose links lead to pages of the site."""
    for link, page in ELSEWHERE.items():
        text = text.replace(link, page)
    return text


def as_restructured_text(lines: list[str]) -> list[str]:
    """Return a docstring of plain text, code in single back quotes and examples indented, as reStructuredText."""
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    done: list[str] = []
    for block in blocks:
        rows = block.split("\n")
        if all(row.startswith("    ") for row in rows if row.strip()):
            done += ["::", "", *rows, ""]
            continue
        if rows[0].startswith(":"):  # a field that autodoc has written itself
            done += [*rows, ""]
            continue
        items = [row for row in rows if re.match(r"\s*- ", row)]
        text = "\n".join(rows) if items else " ".join(row.strip() for row in rows)
        done += [*_marked(text).split("\n"), ""]
    return done


def _marked(text: str) -> str:
    parts = text.split("`")
    told = ""
    for place, part in enumerate(parts):
        if place % 2 and part.strip():
            told += f"``{part}``"
        else:  # a letter that touches code would make it no code
            told += ("\\ " if place and re.match(r"\w", part) else "") + _escaped(part)
    return told


def _escaped(text: str) -> str:
    return re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", text)


def setup(app: Any) -> None:
    """Translate sources and docstrings while they are read."""

    def read(_: Any, __: str, source: list[str]) -> None:
        source[0] = to_pages(source[0])

    def included(_: Any, __: Path, ___: str, source: list[str]) -> None:
        source[0] = to_pages(source[0])

    def documented(_: Any, __: str, ___: str, ____: object, _____: object, lines: list[str]) -> None:
        lines[:] = as_restructured_text(lines)

    app.connect("source-read", read)
    app.connect("include-read", included)
    app.connect("autodoc-process-docstring", documented)
