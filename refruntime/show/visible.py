"""Bytes of tokens in the lines and tables of a terminal: as wide as they say, in the direction of what is around."""

from __future__ import annotations

import unicodedata
from typing import Final

from rich.cells import cell_len

from refruntime.visible import escaped, visible

RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})
LEFT_TO_RIGHT_MARK: Final = "\u200e"
DOTTED_CIRCLE: Final = "\u25cc"
MOST_MARKS: Final = 3
"""Combining marks of one character that are shown as such; a pile of them would reach into other lines."""


def cell(raw: bytes, width: int = 24) -> str:
    """Return bytes as text for a line of a table: as `visible`, at most `width` cells wide, in the table's direction.

    A combining mark without a base gets a dotted circle, emoji parts whose width depends on the terminal are escaped,
    and text that runs from right to left is closed in marks (U+200E), so that the columns beside it stay in place.
    """
    text: list[str] = []
    marks = wide = 0
    for character in visible(raw):
        shown = character
        if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Mc"):
            marks += 1
            if not text:
                shown, marks = DOTTED_CIRCLE + character, 1
            elif marks > MOST_MARKS:
                shown = escaped(character)
        else:
            marks = 0
        if _joins(character):
            shown = escaped(character)
        wide += cell_len(shown)
        if wide > width:
            return _isolated(_cut("".join(text), width - 1) + "…")
        text.append(shown)
    return _isolated("".join(text))


def _joins(character: str) -> bool:
    """Say whether a terminal may draw a character together with its neighbours, in a width of its own choice."""
    code = ord(character)
    return (
        0xFE00 <= code <= 0xFE0F  # variation selectors
        or 0x1F1E6 <= code <= 0x1F1FF  # halves of flags
        or 0x1F3FB <= code <= 0x1F3FF  # skin tones
        or 0x1160 <= code <= 0x11FF  # Korean vowels and finals, drawn into the syllable before
    )


def _cut(text: str, width: int) -> str:
    while cell_len(text) > width:
        text = text[:-1]
    return text


def _isolated(text: str) -> str:
    if any(unicodedata.bidirectional(character) in RIGHT_TO_LEFT for character in text):
        return f"{LEFT_TO_RIGHT_MARK}{text}{LEFT_TO_RIGHT_MARK}"
    return text


def quoted(raw: bytes, width: int = 48) -> str:
    """Return bytes for a sentence: as `cell`, in quotes."""
    return f'"{cell(raw, width)}"'
