"""Translate between bytes and how the tokens of GGUF vocabularies spell them (GG-5, GG-6).

SentencePiece vocabularies spell a space `▁` (U+2581). Byte-level vocabularies use the byte alphabet of GPT-2: the bytes
that Latin-1 prints are their own characters; the 68 others take the characters from U+0100 on, in order, so a space is
`Ġ` (U+0120) and a line feed `Ċ` (U+010A).
"""

from __future__ import annotations

from typing import Final

SPACE: Final = "▁".encode()

_PRINTABLE: Final = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS: Final = [byte for byte in range(256) if byte not in _PRINTABLE]
_TO_CHARACTER: Final = {byte: 0x100 + index for index, byte in enumerate(_OTHERS)}
_TO_BYTE: Final = {chr(byte): byte for byte in _PRINTABLE} | {chr(code): byte for byte, code in _TO_CHARACTER.items()}


def escape_spaces(text: bytes) -> bytes:
    """Replace spaces by `▁`."""
    return text.replace(b" ", SPACE)


def unescape_spaces(text: bytes) -> bytes:
    """Replace `▁` by spaces."""
    return text.replace(SPACE, b" ")


def to_alphabet(raw: bytes) -> bytes:
    """Return the UTF-8 of the characters that stand for bytes."""
    return raw.decode("latin-1").translate(_TO_CHARACTER).encode()


def from_alphabet(text: bytes) -> bytes:
    """Return the bytes for which characters stand.

    A character that stands for none gives, as in llama.cpp, `[UNK_BYTE_0x`, the hexadecimal digits of its UTF-8, the
    whole text, and `]`; of text that is not UTF-8 every wrong byte is U+FFFD.
    """
    raw = bytearray()
    for character in text.decode("utf-8", "surrogateescape"):
        byte = _TO_BYTE.get(character)
        if byte is not None:
            raw.append(byte)
            continue
        shown = "\ufffd" if "\udc80" <= character <= "\udcff" else character
        raw += b"[UNK_BYTE_0x" + shown.encode().hex().encode() + text + b"]"
    return bytes(raw)
