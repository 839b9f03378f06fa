"""Check, read and write the BPE1 section of SLM1 (SL-9, CL-bpe1).

36 header bytes, token records (id, byte length, bytes), merges (left, right, output, rank); all numbers u32.
Checking keeps a few numbers per record and none per merge, so that a hostile section cannot exhaust the memory.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

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


def build_section(vocab_size: int, records: Sequence[TokenRecord], merges: Sequence[Merge]) -> bytes:
    """Return the section with these records and merges, unchecked, so that tests can build bad ones."""
    parts = [common_fields(MAGIC, vocab_size), _COUNTS.pack(len(records), len(merges))]
    parts += [_RECORD.pack(token, len(text)) + text for token, text in records]
    parts += [_MERGE.pack(*merge) for merge in merges]
    return b"".join(parts)


def read_section(section: bytes) -> tuple[list[TokenRecord], list[Merge]]:
    """Return records and merges of a section that passed `check_section`, in file order."""
    token_count, _ = _COUNTS.unpack_from(section, COMMON_FIELDS.size)
    records = []
    position = _HEADER_LENGTH
    for _ in range(token_count):
        token, length = _RECORD.unpack_from(section, position)
        position += _RECORD.size
        records.append(TokenRecord(token, section[position : position + length]))
        position += length
    return records, [Merge._make(values) for values in _MERGE.iter_unpack(memoryview(section)[position:])]


def check_section(section: memoryview, vocab_size: int, base_offset: int) -> None:
    """Apply every check of SL-9. InvalidHeader, with offsets that count from the start of the file.

    `base_offset` is where the section starts in the file.
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
    tokens, position = _check_records(section, token_count, vocab_size, base_offset)
    end = position + merge_count * _MERGE.size
    if end != len(section):
        raise _failure(
            "bytes follow the last merge" if end < len(section) else "the section ends inside the merges",
            base_offset + min(end, len(section)),
            "merge_count",
            f"{merge_count} merges, which end at byte {end} of the section",
            f"a section of {len(section)} bytes",
        )
    merges = np.frombuffer(section[position:], "<u4").reshape(-1, 4)  # [merges, (left, right, output, rank)]
    _check_merges(merges, tokens, vocab_size, base_offset + position)


def _check_records(
    section: memoryview, token_count: int, vocab_size: int, base_offset: int
) -> tuple[NDArray[np.uint32], int]:
    """Return the ids that have a record and the position behind the last record."""
    tokens, starts = array("I"), array("Q")
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
        if token >= vocab_size:
            raise _failure(f"token record {index} has an id out of range", offset, "id", f"below {vocab_size}", token)
        tokens.append(token)
        starts.append(position)
        position += _RECORD.size
        if not 1 <= length <= len(section) - position:
            detail = "is empty" if length == 0 else "reaches past the end of the section"
            raise _failure(
                f"token record {index} {detail}",
                offset + 4,
                "byte_length",
                f"1 .. {len(section) - position}",
                length,
            )
        position += length
    ids = np.array(tokens, np.uint32)
    order = np.argsort(ids, kind="stable")  # equal ids stay in file order, so each repetition follows its original
    repeated = order[1:][ids[order][1:] == ids[order][:-1]]
    if repeated.size:
        index = int(repeated.min())
        raise _failure(
            f"token record {index} repeats an id", base_offset + starts[index], "id", "each id once", tokens[index]
        )
    return ids, position


def _check_merges(merges: NDArray[np.uint32], tokens: NDArray[np.uint32], vocab_size: int, offset: int) -> None:
    """Check that ids are in range and that outputs are bytes or have a record; name the first merge that fails."""
    out_of_range = merges[:, :3] >= vocab_size  # [merges, 3]
    if out_of_range.any():
        index, place = divmod(int(out_of_range.argmax()), 3)
        raise _failure(
            f"merge {index} has an id out of range",
            offset + index * _MERGE.size + 4 * place,
            Merge._fields[place],
            f"below {vocab_size}",
            int(merges[index, place]),
        )
    outputs = merges[:, 2]
    without_token = (outputs >= _IMPLICIT_IDS) & ~np.isin(outputs, tokens)  # [merges]
    if without_token.any():
        index = int(without_token.argmax())
        raise _failure(
            f"merge {index} has an output without a token",
            offset + index * _MERGE.size + 8,
            "output",
            "an id with a record",
            int(outputs[index]),
        )


def _failure(detail: str, offset: int, field: str, expected: object, found: object) -> InvalidHeader:
    return InvalidHeader(detail, rule="SL-9", offset=offset, field=field, expected=expected, found=found)
