"""Malformed SLM1 files: every field of header, directory, tokenizer section and payload, sealed again where needed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from refruntime.battery.malformed.recipe import Malformed, cuts
from refruntime.battery.models.slm1 import BTOK, Shape, random_model, random_weights
from refruntime.battery.models.slm1_bytes import entry_value, patched, patched_entry
from refruntime.containers.slm1_format import ENTRY_OFFSETS, HEADER_LENGTH, POSITIVE_DIMENSIONS, DType, fnv1a_64
from refruntime.containers.slm1_writer import with_checksum
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status

SHAPE: Final = Shape(hidden=4, layers=1, heads=2, ffn=6, capacity=8)


def slm1_files(profile: Profile) -> Iterator[Malformed]:
    """Yield every file; statuses are those of the default options."""
    plain = random_model(100, SHAPE, profile=profile)
    yield from _flips(plain)
    yield from _header(plain, profile)
    yield from _ends(plain, profile)
    yield from _entries(profile)
    yield from _section(plain, profile)


def _flips(plain: bytes) -> Iterator[Malformed]:
    """Yield files with one bit changed and the old checksum: whatever else it breaks, the header is wrong (SL-1)."""
    for place in (*range(HEADER_LENGTH), *range(HEADER_LENGTH, len(plain), max(1, len(plain) // 200))):
        for bit in (0, 7) if place < HEADER_LENGTH else (place % 8,):
            data = plain[:place] + bytes([plain[place] ^ 1 << bit]) + plain[place + 1 :]
            status, rule, check = Status.InvalidHeader, "SL-5", "checksum, or the header before it"
            if place < 4:
                status, rule, check = Status.InvalidModelMagic, "SL-1", "magic"
            elif place < 8:
                status, rule, check = Status.UnsupportedModelVersion, "SL-1", "version"
            yield Malformed(f"slm1/flip/byte-{place}-bit-{bit}", check, status, rule, data)


def _header(plain: bytes, profile: Profile) -> Iterator[Malformed]:
    def bad(field: str, number: float, check: str, status: Status = Status.InvalidHeader) -> Malformed:
        name = f"slm1/header/{field}-{number}".replace("_", "-")
        return Malformed(name, check, status, "SL-1", patched(plain, {field: number}, profile))

    for version in (0, 2, 3, 255, 256, 2**31, 2**32 - 1):
        yield bad("version", version, "version", Status.UnsupportedModelVersion)
    for length in (0, 1, 64, 107, len(plain) + 1, 2**31, 2**32 - 1):
        yield bad("header_length", length, "header_length")
    for field in POSITIVE_DIMENSIONS:
        yield bad(field, 0, "zero dimensions")
    for field in ("head_count", "head_dim", "hidden_size"):
        for number in (1, 3, 5, 2**16, 2**32 - 1):
            yield bad(field, number, "head_count x head_dim = hidden_size")
    for field in ("rope_theta", "rms_norm_epsilon"):
        for constant in (0.0, -0.0, -1.0, float("inf"), float("-inf"), float("nan")):
            yield bad(field, constant, "finite positive theta and epsilon")
    for field in ("tokenizer_offset", "tokenizer_length", "tensor_directory_offset", "tensor_data_offset"):
        for number in (len(plain) + 64, 2**32, 2**40, 2**63, 2**64 - 64):
            yield bad(field, number, "ranges")
    for number in (2**20, 2**26, 2**31, 2**32 - 1):
        yield bad("tensor_count", number, "ranges")
    for number in (1, 63, 65, 127):
        yield bad("tensor_data_offset", number, "alignment of the tensor data")
    for number in (0, 1, 2**63, 2**64 - 1):
        yield bad("checksum", number, "checksum")
    for number in (1, 3, 4, 2**31):
        yield bad("kv_head_count", number, "kv_head_count = head_count", Status.ShapeMismatch)


def _ends(plain: bytes, profile: Profile) -> Iterator[Malformed]:
    yield from cuts("slm1/end", plain, range(1, 4), "magic", Status.InvalidModelMagic, "SL-1")
    yield from cuts("slm1/end", plain, range(4, HEADER_LENGTH), "header length", Status.InvalidHeader, "SL-1")
    inside = range(HEADER_LENGTH, len(plain), max(1, len(plain) // 100))
    yield from cuts("slm1/end", plain, inside, "checksum, or the ranges before it", Status.InvalidHeader, "SL-1")
    start = int.from_bytes(plain[92:100], "little")
    for size in range(HEADER_LENGTH, start, 8):
        sealed = with_checksum(plain[:size], profile)
        yield Malformed(f"slm1/end/sealed-{size}", "ranges", Status.InvalidHeader, "SL-1", sealed)
    ends = (entry_value(plain, name, "byte_offset") + entry_value(plain, name, "byte_length") for name in _names())
    last = max(ends)
    for size in range(start + 1, last, max(1, (last - start) // 60)):
        sealed = with_checksum(plain[:size], profile)
        yield Malformed(f"slm1/end/sealed-{size}", "payload range", Status.InvalidTensorDirectory, "SL-6", sealed)


def _names() -> tuple[str, ...]:
    return tuple(random_weights(100, SHAPE))


def _entries(profile: Profile) -> Iterator[Malformed]:
    wrong, shape = Status.InvalidTensorDirectory, Status.ShapeMismatch
    for dtype in (DType.F32, DType.Q8_0, DType.Q4_0):
        base = random_model(106, SHAPE, dtype, block_size=2, profile=profile)
        for tensor in _names():

            def bad(
                field: str, number: int, check: str, status: Status, rule: str = "SL-6", tensor: str = tensor
            ) -> Malformed:
                width = 4 if field in ("dtype", "rank", "dims", "block_size") else 8
                data = patched_entry(base, tensor, ENTRY_OFFSETS[field], number.to_bytes(width, "little"), profile)  # noqa: B023
                name = f"slm1/entry/{dtype.label}-{tensor}-{field}-{number}".replace("_", "-")  # noqa: B023
                return Malformed(name, check, status, rule, data)

            for number in (0, 4, 5, 255, 2**31, 2**32 - 1):
                yield bad("dtype", number, "dtype", Status.UnsupportedDType, "SL-1")
            for number in (0, 5, 6, 255, 2**32 - 1):
                yield bad("rank", number, "rank", wrong, "SL-1")
            for number in (len(base) + 1, 2**32, 2**63, 2**64 - 1):
                yield bad("byte_offset", number, "payload range", wrong)
                yield bad("byte_length", number, "payload range", wrong)
            length = entry_value(base, tensor, "byte_length")
            end = len(base) - entry_value(base, tensor, "byte_offset")
            for number in sorted({0, 1, length - 1, min(length + 1, end)} - {length}):
                yield bad("byte_length", number, "encoded length", shape)
            for number in (0, 1, 3, 7):
                yield bad("dims", number, "shape", shape, "SL-1")
            other = patched_entry(base, tensor, 0, fnv1a_64("other").to_bytes(8, "little"), profile)
            name = f"slm1/entry/{dtype.label}-{tensor}-absent".replace("_", "-")
            yield Malformed(name, "presence", Status.MissingTensor, "SL-3", other)
            if dtype is DType.F32:
                continue
            for number in (len(base), len(base) + 1, 2**32, 2**64 - 1):
                yield bad("scale_offset", number, "start of the scales", wrong)
            yield bad("scale_offset", 0, "scales", shape)
            yield bad("block_size", 0, "block_size", shape, "SL-2")
            yield bad("block_size", 3, "block_size", shape, "SL-2")
            at = entry_value(base, tensor, "scale_offset")
            for label, scale in {"zero": 0.0, "negative": -1.0, "infinite": float("inf"), "nan": float("nan")}.items():
                data = with_checksum(base[:at] + struct.pack("<f", scale) + base[at + 4 :], profile)
                name = f"slm1/scale/{dtype.label}-{tensor}-{label}".replace("_", "-")
                yield Malformed(name, "scales", shape, "SL-6", data)


def _section(plain: bytes, profile: Profile) -> Iterator[Malformed]:
    at = int.from_bytes(plain[64:72], "little")
    for place in range(len(BTOK)):
        for bit in (0, 3, 7):
            data = plain[: at + place] + bytes([plain[at + place] ^ 1 << bit]) + plain[at + place + 1 :]
            name = f"slm1/tokenizer/btok-byte-{place}-bit-{bit}"
            yield Malformed(name, "tokenizer section", Status.InvalidHeader, "SL-7", with_checksum(data, profile))
    for length in (0, 1, 4, 8, 27, 29, 32, 36):
        data = patched(plain, {"tokenizer_length": length}, profile)
        yield Malformed(f"slm1/tokenizer/length-{length}", "tokenizer section", Status.InvalidHeader, "SL-7", data)
