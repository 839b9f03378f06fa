"""Read and write the BPE1 section of SLM1 (SL-9, section 13 BPE1).

36 header bytes, token records (id, byte length, bytes), merges (left, right, output, rank); all numbers u32.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from refruntime.errors import InvalidHeader
from refruntime.tokenizers.byte_ids import COMMON_FIELDS, check_common_fields, common_fields

MAGIC: Final = b"BPE1"

_COUNTS: Final = struct.Struct("<2I")
_RECORD: Final = struct.Struct("<2I")
_MERGE: Final = struct.Struct("<4I")
_HEADER_LENGTH: Final = COMMON_FIELDS.size + _COUNTS.size
_IMPLICIT_IDS: Final = 256


class TokenRecord(NamedTuple):
    """The bytes of one id."""

    token: int
    text: bytes


class Merge(NamedTuple):
    """Replace the adjacent ids left, right by output; a lower rank goes first."""

    left: int
    right: int
    output: int
    rank: int


def parse_section(section: memoryview, vocab_size: int, base_offset: int) -> tuple[dict[int, bytes], list[Merge]]:
    """Return the recorded bytes by id and the merges in file order, after every check of SL-9.

    `base_offset` is where the section starts in the file, for error messages. InvalidHeader.
    """
    if len(section) < _HEADER_LENGTH:
        raise _failure(
            "the BPE1 section ends inside its header",
            base_offset + len(section),
            "section",
            f"at least {_HEADER_LENGTH} bytes",
            f"{len(section)} bytes",
        )
    check_common_fields(section, MAGIC, vocab_size, base_offset, rule="SL-9")
    token_count, merge_count = _COUNTS.unpack_from(section, COMMON_FIELDS.size)
    records, position = _parse_records(section, token_count, vocab_size, base_offset)
    expected_end = position + merge_count * _MERGE.size
    if expected_end != len(section):
        detail = "bytes follow the last merge" if expected_end < len(section) else "the section ends inside the merges"
        raise _failure(
            detail,
            base_offset + min(expected_end, len(section)),
            "merge_count",
            f"{merge_count} merges ending at byte {expected_end} of the section",
            f"{len(section)} bytes",
        )
    merges: list[Merge] = []
    for start, values in zip(
        range(position, expected_end, _MERGE.size), _MERGE.iter_unpack(section[position:]), strict=True
    ):
        merge = Merge._make(values)
        _check_merge(merge, len(merges), records, vocab_size, base_offset + start)
        merges.append(merge)
    return records, merges


def build_section(vocab_size: int, records: Sequence[TokenRecord], merges: Sequence[Merge]) -> bytes:
    """Return the section that `parse_section` reads; nothing is checked, so that tests can build bad ones."""
    parts = [common_fields(MAGIC, vocab_size), _COUNTS.pack(len(records), len(merges))]
    parts += [_RECORD.pack(token, len(text)) + text for token, text in records]
    parts += [_MERGE.pack(*merge) for merge in merges]
    return b"".join(parts)


def _parse_records(
    section: memoryview, token_count: int, vocab_size: int, base_offset: int
) -> tuple[dict[int, bytes], int]:
    """Return the records and the position behind the last one."""
    records: dict[int, bytes] = {}
    position = _HEADER_LENGTH
    for index in range(token_count):  # each round needs bytes of the section, so a false count ends it at once
        offset = base_offset + position
        if position + _RECORD.size > len(section):
            raise _failure(
                f"the section ends inside the header of token record {index}",
                offset,
                "token_count",
                f"{token_count} records",
                f"{index} records in {len(section)} bytes",
            )
        token, length = _RECORD.unpack_from(section, position)
        position += _RECORD.size
        if token >= vocab_size:
            raise _failure(f"token record {index} has an id out of range", offset, "id", f"below {vocab_size}", token)
        if token in records:
            raise _failure(f"token record {index} repeats an id", offset, "id", "each id once", token)
        if length == 0:
            raise _failure(f"token record {index} is empty", offset + 4, "byte_length", "at least 1", length)
        if length > len(section) - position:
            raise _failure(
                f"the section ends inside token record {index}",
                offset + 4,
                "byte_length",
                f"at most {len(section) - position}",
                length,
            )
        records[token] = bytes(section[position : position + length])
        position += length
    return records, position


def _check_merge(merge: Merge, index: int, records: dict[int, bytes], vocab_size: int, offset: int) -> None:
    for place, name in enumerate(("left", "right", "output")):
        token = merge[place]
        if token >= vocab_size:
            raise _failure(
                f"merge {index} has an id out of range", offset + 4 * place, name, f"below {vocab_size}", token
            )
    if merge.output >= _IMPLICIT_IDS and merge.output not in records:
        raise _failure(
            f"merge {index} has an output without a token", offset + 8, "output", "an id with a record", merge.output
        )


def _failure(detail: str, offset: int, field: str, expected: object, found: object) -> InvalidHeader:
    return InvalidHeader(detail, rule="SL-9", offset=offset, field=field, expected=expected, found=found)
