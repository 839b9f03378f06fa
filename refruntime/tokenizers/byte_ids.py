"""Hold what BTOK and BPE1 share: the ids of bytes and specials, and the first fields of their sections."""

from __future__ import annotations

import struct
from typing import Final

from refruntime.errors import InvalidHeader

BOS: Final = 256
EOS: Final = 257
PAD: Final = 258
UNK: Final = 259
FIRST_FREE_ID: Final = 260
"""Ids 0..255 are bytes, 256..259 the specials; the smallest possible vocabulary is 260 (SL-7)."""

SECTION_VERSION: Final = 1
COMMON_FIELDS: Final = struct.Struct("<4s6I")
COMMON_OFFSETS: Final = {"magic": 0, "version": 4, "vocab_size": 8, "BOS": 12, "EOS": 16, "PAD": 20, "UNK": 24}


def special_bytes(token: int) -> bytes | None:
    """Return what a special id decodes to, None if `token` is no special: UNK gives `?`, the others nothing (SL-8)."""
    if token == UNK:
        return b"?"
    return b"" if BOS <= token <= PAD else None


def check_common_fields(section: memoryview, magic: bytes, vocab_size: int, base_offset: int, rule: str) -> None:
    """Check magic, version, vocabulary size and special ids of a section of at least 28 bytes. InvalidHeader."""
    expected = {
        "magic": magic,
        "version": SECTION_VERSION,
        "vocab_size": vocab_size,
        "BOS": BOS,
        "EOS": EOS,
        "PAD": PAD,
        "UNK": UNK,
    }
    for (field, value), found in zip(expected.items(), COMMON_FIELDS.unpack_from(section), strict=True):
        if found != value:
            raise InvalidHeader(
                f"the {magic.decode()} section has another {field}",
                rule=rule,
                offset=base_offset + COMMON_OFFSETS[field],
                field=field,
                expected=value,
                found=found,
            )
    if vocab_size < FIRST_FREE_ID:
        raise InvalidHeader(
            "the vocabulary has no room for the bytes and the special ids",
            rule=rule,
            offset=base_offset + COMMON_OFFSETS["vocab_size"],
            field="vocab_size",
            expected=f"at least {FIRST_FREE_ID}",
            found=vocab_size,
        )


def common_fields(magic: bytes, vocab_size: int) -> bytes:
    """Return the 28 bytes that open a section."""
    return COMMON_FIELDS.pack(magic, SECTION_VERSION, vocab_size, BOS, EOS, PAD, UNK)
