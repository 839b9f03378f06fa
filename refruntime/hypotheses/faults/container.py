"""Hypotheses on the checks of the containers (sections 10 and 12): bytes are changed as a faulty check sees them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from refruntime.containers.checksum import CHECKSUM_FIELD, slm1_checksum, with_checksum
from refruntime.containers.slm1_format import ENTRY_OFFSETS, FLAG_TIED_OUTPUT, HEADER_OFFSETS
from refruntime.contract.profile import Profile
from refruntime.hypotheses.faults.topic import Topic
from refruntime.hypotheses.hypothesis import Changes, Hypothesis

FAULTS: Final = Topic("container")


HEADER_SIZE: Final = 108
ENTRY_SIZE: Final = 64


def _slm1(change: Callable[[bytearray], None]) -> Changes:
    """Return a change of an SLM1 file whose checksum was right; it is right again afterwards."""

    def changed(data: bytes, profile: Profile) -> bytes:
        if not _is_slm1(data) or _stored(data) != slm1_checksum(data, profile):
            return data
        copy = bytearray(data)
        change(copy)
        return with_checksum(bytes(copy), slm1_checksum(bytes(copy), profile))

    return Changes(artifact=changed)


def _is_slm1(data: bytes) -> bool:
    return data[:4] == b"SLM1" and len(data) >= HEADER_SIZE


def _stored(data: bytes) -> int:
    return int.from_bytes(data[slice(*CHECKSUM_FIELD)], "little")


def _verified_by(checksum: Callable[[bytes, Profile], int]) -> Changes:
    """Return a change that gives a file a right checksum exactly when another formula accepts the stored one."""

    def changed(data: bytes, profile: Profile) -> bytes:
        if not _is_slm1(data) or _stored(data) == 0:
            return data
        right = slm1_checksum(data, profile)
        return with_checksum(data, right if checksum(data, profile) == _stored(data) else right ^ 1 or 2)

    return Changes(artifact=changed)


@FAULTS.fault("checksum-last-byte", "the last byte of the file is not covered by the checksum", "SL-5", _verified_by)
def _without_last_byte(data: bytes, profile: Profile) -> int:
    return slm1_checksum(data[:-1], profile)


@FAULTS.fault("checksum-own-field", "the checksum field itself is not taken as zero", "SL-5", _verified_by)
def _over_own_field(data: bytes, profile: Profile) -> int:
    """Return the checksum with the bytes of its own field counted."""
    mask = 2**64 - 1
    state = profile.checksum_start
    for index, byte in enumerate(data):
        state = state ^ byte ^ index
        state = (state << profile.checksum_rotation | state >> (64 - profile.checksum_rotation)) & mask
        state = state * 0x100000001B3 & mask
    return state


def _field(data: bytearray, name: str, layout: str) -> int:
    value: int = struct.unpack_from(layout, data, HEADER_OFFSETS[name])[0]
    return value


@FAULTS.fault("alignment-unchecked", "tensor_data_offset need not be divisible by 64", "SL-1", _slm1)
def _align(data: bytearray) -> None:
    offset = _field(data, "tensor_data_offset", "<Q")
    struct.pack_into("<Q", data, HEADER_OFFSETS["tensor_data_offset"], offset - offset % 64)


@FAULTS.fault("tied-ignored", "the tied flag is ignored", "SL-3", _slm1)
def _untie(data: bytearray) -> None:
    flags = _field(data, "flags", "<I")
    struct.pack_into("<I", data, HEADER_OFFSETS["flags"], flags & ~FLAG_TIED_OUTPUT)


@FAULTS.fault("vocabulary-drift", "the tokenizer's vocab_size may differ from the header's", "SL-7", _slm1)
def _same_vocabulary(data: bytearray) -> None:
    offset = _field(data, "tokenizer_offset", "<Q")
    if offset + 12 <= len(data):
        data[offset + 8 : offset + 12] = data[HEADER_OFFSETS["vocab_size"] : HEADER_OFFSETS["vocab_size"] + 4]


@FAULTS.fault("trailing-bytes", "bytes behind the last merge of BPE1 are accepted", "SL-9", _slm1)
def _cut_tokenizer(data: bytearray) -> None:
    """Shorten a BPE1 section to what its counts say."""
    offset, length = _field(data, "tokenizer_offset", "<Q"), _field(data, "tokenizer_length", "<Q")
    if offset + length > len(data) or length < 36 or data[offset : offset + 4] != b"BPE1":
        return
    records, merges = struct.unpack_from("<II", data, offset + 28)
    end = offset + 36
    for _ in range(min(records, length)):
        if end + 8 > offset + length:
            return
        end += 8 + struct.unpack_from("<I", data, end + 4)[0]
    end += 16 * merges
    if end < offset + length:
        struct.pack_into("<Q", data, HEADER_OFFSETS["tokenizer_length"], end - offset)


@FAULTS.fault("scales-unchecked", "unusable scales are accepted", "SL-6", _slm1)
def _usable_scales(data: bytearray) -> None:
    """Replace every scale that is not usable by 1: the load then succeeds, and what follows is arithmetic."""
    start, count = _field(data, "tensor_directory_offset", "<Q"), _field(data, "tensor_count", "<I")
    for entry in range(start, min(start + count * ENTRY_SIZE, len(data) - ENTRY_SIZE + 1), ENTRY_SIZE):
        dtype, rank = struct.unpack_from("<II", data, entry + ENTRY_OFFSETS["dtype"])
        dims = struct.unpack_from("<4I", data, entry + ENTRY_OFFSETS["dims"])[:rank]
        scales, block = struct.unpack_from("<QI", data, entry + ENTRY_OFFSETS["scale_offset"])
        if dtype not in (2, 3) or not block:
            continue
        total = int(np.prod(dims, dtype=np.int64)) // block
        if scales + 4 * total <= len(data):
            values = np.frombuffer(bytes(data[scales : scales + 4 * total]), "<f4").copy()
            values[~(np.isfinite(values) & (values > 0))] = 1
            data[scales : scales + 4 * total] = values.tobytes()


def refusals(profile: Profile) -> Iterator[Hypothesis]:
    """Yield what a build may leave out or refuse, as other values of the profile."""
    unlimited = replace(profile, gguf_context_limit=2**31 - 1)
    text = "the capacity of a GGUF model is not limited"
    yield Hypothesis("capacity-unlimited", "container", text, "GG-7", Changes(profile=unlimited), ("GG-7", 2**31 - 1))
    only = replace(profile, containers=("slm1",))
    yield Hypothesis("slm1-only", "container", "GGUF is refused", "GG-1", Changes(profile=only), ("GG-1", ("slm1",)))
