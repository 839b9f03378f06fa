"""ggml block types to float32, bit for bit (GG-8, section 13 "GGUF"), and the table of types (GG-3)."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Callable

import gguf
import numpy as np
import pytest

from refruntime.quants.ggml import CHUNK_ELEMENTS, GGML_TYPES, THREAD_ELEMENTS, dequantize
from tests.support.ggml_blocks import BY_NAME, DECODED, KERNELS, same_bits

BLOCK = 256


def half(value: float) -> bytes:
    return struct.pack("<e", value)


def test_every_type_is_decoded_but_removed_and_intermediate_ones() -> None:
    """GG-3: what cannot be decoded was removed from ggml, or holds activations inside its dot products."""
    removed = ["q4_2", "q4_3", "q4_0_4_4", "q4_0_4_8", "q4_0_8_8", "iq4_nl_4_4", "iq4_nl_4_8", "iq4_nl_8_8"]
    refused = {each.name: each.refusal for each in GGML_TYPES.values() if each.decode is None}
    assert [name for name, reason in refused.items() if reason == "removed from ggml"] == removed
    assert [name for name, reason in refused.items() if "intermediate" in reason] == ["q8_1", "q8_k"]
    assert len(refused) == 10


def test_numbers_names_and_sizes_are_those_of_gguf_py() -> None:
    """GG-3: the table agrees with gguf-py in every type that it knows, but for q8_1, whose sums ggml made f16 since."""
    for kind, (block_size, type_size) in gguf.GGML_QUANT_SIZES.items():
        ours = GGML_TYPES[int(kind)]
        assert (ours.name, ours.block_size) == (kind.name.lower(), block_size)
        assert ours.type_size == (2 + 2 + 32 if kind.name == "Q8_1" else type_size)
    assert sorted(GGML_TYPES) == list(range(43))
    removed = [each.number for each in GGML_TYPES.values() if each.block_size == 0]
    assert removed == [4, 5, 31, 32, 33, 36, 37, 38]


def nibble_bytes(low: list[int], high: list[int]) -> bytes:
    return bytes(a | b << 4 for a, b in zip(low, high, strict=True))


RAMP, DOWN = list(range(16)), list(range(15, -1, -1))
BY_HAND = {
    "f32": (struct.pack("<f", -1.5), [-1.5]),
    "f16": (half(-(2.0**-24)), [-(2.0**-24)]),
    "bf16": (b"\x20\xc1", [-10.0]),
    "q4_0": (half(0.5) + nibble_bytes(RAMP, DOWN), [(q - 8) * 0.5 for q in RAMP + DOWN]),
    "q4_1": (half(0.5) + half(-3) + nibble_bytes(RAMP, DOWN), [q * 0.5 - 3 for q in RAMP + DOWN]),
    "q5_0": (
        half(2) + b"\x01\x00\x00\x80" + nibble_bytes(RAMP, DOWN),
        [(q + 16 * (i in (0, 31)) - 16) * 2.0 for i, q in enumerate(RAMP + DOWN)],
    ),
    "q5_1": (
        half(2) + half(1) + b"\x00\x80\x01\x00" + nibble_bytes(RAMP, DOWN),
        [(q + 16 * (i in (15, 16))) * 2.0 + 1 for i, q in enumerate(RAMP + DOWN)],
    ),
    "q8_0": (half(-0.25) + bytes(range(0, 256, 8)), [-0.25 * (q - 256 * (q > 127)) for q in range(0, 256, 8)]),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_blocks_worked_by_hand(name: str) -> None:
    """GG-8: one block whose values are written down from the layout."""
    raw, values = BY_HAND[name]
    assert dequantize(BY_NAME[name], raw, (len(values),)).tolist() == values


@pytest.mark.parametrize(("name", "raw"), [("f32", b"\0\0\0\x80"), ("f16", b"\0\x80"), ("bf16", b"\0\x80")])
def test_a_negative_zero_keeps_its_sign(name: str, raw: bytes) -> None:
    """GG-8: the float types are widened bit by bit, so -0.0 stays -0.0."""
    (value,) = dequantize(BY_NAME[name], raw, (1,))
    assert (value, np.signbit(value)) == (0, True)


def scalar_q4_k(block: bytes, number: Callable[[float], float]) -> list[float]:
    """A q4_k block one value at a time, in float32 or float64 numbers."""
    d, dmin = struct.unpack_from("<2e", block)
    scales, values = block[4:16], []
    for group in range(8):
        if group < 4:
            scale, minimum = scales[group] & 63, scales[group + 4] & 63
        else:
            scale = scales[group + 4] & 15 | scales[group - 4] >> 6 << 4
            minimum = scales[group + 4] >> 4 | scales[group] >> 6 << 4
        for index in range(32):
            byte = block[16 + group // 2 * 32 + index]
            quant = byte >> 4 if group % 2 else byte & 15
            product = number(d) * number(scale) * number(quant)
            values.append(float(product - number(dmin) * number(minimum)))
    return values


def scalar_q6_k(block: bytes, number: Callable[[float], float]) -> list[float]:
    """A q6_k block one value at a time, in float32 or float64 numbers."""
    (d,), values = struct.unpack_from("<e", block, 208), []
    scales = struct.unpack_from("<16b", block, 192)
    for index in range(256):
        part, run, at = index // 128, index % 128 // 32, index % 32
        low = block[64 * part + 32 * (run % 2) + at] >> (4 if run >= 2 else 0) & 15
        high = block[128 + 32 * part + at] >> 2 * run & 3
        values.append(float(number(d) * number(scales[index // 16]) * number((low | high << 4) - 32)))
    return values


@pytest.mark.parametrize(("name", "scalar", "at"), [("q4_k", scalar_q4_k, (0, 2)), ("q6_k", scalar_q6_k, (208,))])
def test_super_blocks_one_value_at_a_time(
    name: str, scalar: Callable[[bytes, Callable[[float], float]], list[float]], at: tuple[int, ...]
) -> None:
    """GG-8: the K types equal a loop over single values in float32; in float64, rounded at the end, it gives the same.

    So no product is rounded, and whether the last one is fused into the sum cannot be seen (section 13).
    """
    generator = np.random.default_rng(7)
    for _ in range(20):
        block = bytearray(generator.bytes(BY_NAME[name].type_size))
        for position in at:
            block[position : position + 2] = half(float(generator.normal() * 0.01))
        found = dequantize(BY_NAME[name], bytes(block), (256,)).tolist()
        assert found == scalar(bytes(block), np.float32)
        assert found == np.array(scalar(bytes(block), float)).astype(np.float32).tolist()


@pytest.mark.parametrize("name", DECODED)
def test_every_chunk_is_decoded(name: str) -> None:
    """GG-8: a tensor of several chunks, the last one partial, equals its blocks decoded one at a time."""
    kind = BY_NAME[name]
    blocks = 2 * CHUNK_ELEMENTS // kind.block_size + 3
    raw = np.random.default_rng(5).integers(0, 60, (blocks, kind.type_size), np.uint8)  # small bytes: no NaN
    found = dequantize(kind, raw.reshape(-1), (blocks, kind.block_size), kernels="numpy")
    for index in (0, 1, CHUNK_ELEMENTS // kind.block_size, blocks - 1):
        alone = dequantize(kind, raw[index].tobytes(), (kind.block_size,))
        assert same_bits(found[index], alone)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", ["f16", "q4_k", "iq1_m", "tq1_0", "nvfp4", "i64"])
def test_threads_change_nothing(name: str, kernels: str) -> None:
    """GG-8: one thread and three, whose parts differ in size, give the same bits."""
    kind = BY_NAME[name]
    blocks = 3 * THREAD_ELEMENTS // kind.block_size + 1
    raw = np.random.default_rng(8).integers(0, 256, blocks * kind.type_size, np.uint8)
    single, several = (
        dequantize(kind, raw, (blocks, kind.block_size), threads=threads, kernels=kernels) for threads in (1, 3)
    )
    assert same_bits(several, single)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", DECODED)
def test_peak_memory_is_near_the_result(name: str, kernels: str) -> None:
    """GG-8: decoding streams; beside the result each thread holds a chunk at most."""
    kind = BY_NAME[name]
    blocks = (1 << 22) // kind.block_size
    raw = np.zeros(blocks * kind.type_size, np.uint8)
    dequantize(kind, raw[: kind.type_size], (kind.block_size,), kernels=kernels)  # tables and kernels are there now
    tracemalloc.start()
    values = dequantize(kind, raw, (blocks, kind.block_size), threads=2, kernels=kernels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - values.nbytes < 2 * 2.5 * CHUNK_ELEMENTS * 4


def test_decoding_is_fast() -> None:
    """GG-8: 16 million q4_k weights take well below two seconds of processor time (measured: 0.1)."""
    kind = BY_NAME["q4_k"]
    raw = np.zeros((1 << 16) * kind.type_size, np.uint8)
    start = time.process_time()
    dequantize(kind, raw, (1 << 16, BLOCK), kernels="numpy")
    assert time.process_time() - start < 2


def test_an_unaligned_buffer_will_do() -> None:
    """GG-3: with an alignment of 1 a tensor may start anywhere."""
    raw = memoryview(b"x" + struct.pack("<2f", 1.5, -2.5))[1:]
    assert dequantize(BY_NAME["f32"], raw, (2,)).tolist() == [1.5, -2.5]


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        ("q8_0", 34, (31,)),
        ("q8_0", 33, (32,)),
        ("f32", 8, (1,)),
        ("q8_0", 34, (2, 16, 2)),
        ("q4_2", 32, (32,)),
        ("q8_1", 36, (32,)),
    ],
)
def test_a_size_that_does_not_fit_is_a_mistake_of_the_caller(name: str, size: int, shape: tuple[int, ...]) -> None:
    """GG-3: files are checked before; here a misfit, or a type without decoder, is a ValueError."""
    with pytest.raises(ValueError, match=r"do not make|removed|intermediate"):
        dequantize(BY_NAME[name], bytes(size), shape)


def test_values_belong_to_the_caller() -> None:
    """GG-8: the result does not share memory with the file."""
    raw = bytearray(struct.pack("<f", 1.0))
    values = dequantize(BY_NAME["f32"], memoryview(raw), (1,))
    raw[:] = bytes(4)
    assert values.tolist() == [1.0]
