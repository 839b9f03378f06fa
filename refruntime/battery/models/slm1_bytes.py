"""Change single fields of an SLM1 file that is right; the checksum is made right again (SL-5)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from refruntime.containers.slm1_format import ENTRY_LENGTH, ENTRY_OFFSETS, HEADER_OFFSETS, fnv1a_64
from refruntime.containers.slm1_writer import with_checksum
from refruntime.contract.profile import Profile

U64_FIELDS: Final = frozenset(
    ("tokenizer_offset", "tokenizer_length", "tensor_directory_offset", "tensor_data_offset", "checksum")
)
FLOAT_FIELDS: Final = frozenset(("rope_theta", "rms_norm_epsilon"))
SECTION_HEADER: Final = 36
"""Bytes of the longest header of a tokenizer section, that of BPE1 (SL-9); a BTOK section has 28 in all."""

U64_ENTRY_FIELDS: Final = frozenset(("name_hash", "byte_offset", "byte_length", "scale_offset"))


def patched(file: bytes, values: Mapping[str, float], profile: Profile) -> bytes:
    """Return the file with other header fields, and with the right checksum unless that is one of them."""
    data = bytearray(file)
    for field, value in values.items():
        code = "<f" if field in FLOAT_FIELDS else "<Q" if field in U64_FIELDS else "<I"
        struct.pack_into(code, data, HEADER_OFFSETS[field], value)
    return bytes(data) if "checksum" in values else with_checksum(bytes(data), profile)


def patched_entry(file: bytes, name: str, offset: int, value: bytes, profile: Profile) -> bytes:
    """Return the file with other bytes at `offset` of the directory entry of a tensor, and the right checksum."""
    start = _entry_start(file, name) + offset
    return with_checksum(file[:start] + value + file[start + len(value) :], profile)


def with_payload(file: bytes, name: str, payload: bytes, profile: Profile) -> bytes:
    """Return the file with other bytes at the start of a tensor's payload, and the right checksum."""
    start = entry_value(file, name, "byte_offset")
    return with_checksum(file[:start] + payload + file[start + len(payload) :], profile)


def entry_bytes(file: bytes, name: str) -> bytes:
    """Return the directory entry of a tensor."""
    start = _entry_start(file, name)
    return file[start : start + ENTRY_LENGTH]


def entry_value(file: bytes, name: str, field: str) -> int:
    """Return a field of the directory entry of a tensor."""
    offset, size = ENTRY_OFFSETS[field], 8 if field in U64_ENTRY_FIELDS else 4
    return int.from_bytes(entry_bytes(file, name)[offset : offset + size], "little")


Fields = tuple[tuple[int, int], ...]
"""Places and widths in bytes of numbers."""


def slm1_fields(file: bytes) -> tuple[Fields, Fields, Fields]:
    """Return the numbers of header, tokenizer section and directory of a file."""
    header = tuple((place, 8 if name in U64_FIELDS else 4) for name, place in HEADER_OFFSETS.items())
    section, length = (_header_value(file, f"tokenizer_{name}") for name in ("offset", "length"))
    words = tuple((place, 4) for place in range(section, section + min(length, SECTION_HEADER), 4))
    start, count = (_header_value(file, field) for field in ("tensor_directory_offset", "tensor_count"))
    entries = tuple(
        (start + ENTRY_LENGTH * number + place, 8 if name in U64_ENTRY_FIELDS else 4)
        for number in range(count)
        for name, place in ENTRY_OFFSETS.items()
    )
    return header, words, entries


def _entry_start(file: bytes, name: str) -> int:
    start, count = (_header_value(file, field) for field in ("tensor_directory_offset", "tensor_count"))
    wanted = fnv1a_64(name).to_bytes(8, "little")
    return next(at for at in range(start, start + ENTRY_LENGTH * count, ENTRY_LENGTH) if file[at : at + 8] == wanted)


def _header_value(file: bytes, field: str) -> int:
    offset, size = HEADER_OFFSETS[field], 8 if field in U64_FIELDS else 4
    return int.from_bytes(file[offset : offset + size], "little")
