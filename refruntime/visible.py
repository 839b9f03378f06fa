"""Bytes and text in which everything shows, and which no terminal takes for a command."""

from __future__ import annotations


def visible(raw: bytes) -> str:
    """Return bytes as text in which everything shows.

    Spaces are `␣`, control characters their pictures (`␊`), other unprintable characters `\\u{..}`, and bytes that are
    not UTF-8 `\\x..`.
    """
    return "".join(_visible_character(character) for character in raw.decode("utf-8", "surrogateescape"))


def shortened(raw: bytes, most: int = 48) -> str:
    """Return bytes as `visible` does, at most so many characters of them."""
    text = visible(raw)
    return text if len(text) <= most else text[: most - 1] + "…"


def printable(text: str) -> str:
    """Return text that a terminal shows as it is read: lines and tabs stay, what controls is made visible.

    Control characters, C1 and marks of direction among them, become what `visible` makes of them, as do the surrogates
    that stand for bytes which are no UTF-8.
    """
    return "".join(
        character if character in "\n\t " or character.isprintable() else _visible_character(character)
        for character in text
    )


def _visible_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0x20:
        return chr(0x2423) if code == 0x20 else chr(0x2400 + code)
    if code == 0x7F:
        return chr(0x2421)
    return character if character.isprintable() else escaped(character)


def escaped(character: str) -> str:
    """Return a character as the escape that names it."""
    return f"\\u{{{ord(character):x}}}"
