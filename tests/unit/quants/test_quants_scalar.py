"""The types that gguf-py does not decode, or did not always, against loops over single values that are written here.

Second opinion: q1_0 and q2_0 follow `block_q1_0`, `block_q2_0` and their `dequantize_row` in ggml, one value at a time
in Python numbers; mxfp4 and nvfp4 the definition of their floats of 4 and 8 bits, without tables; float64 and the
integers are rounded by hand in integer arithmetic, or by `struct`.
"""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refruntime.quants.ggml import dequantize
from tests.support.ggml_blocks import BY_NAME, KERNELS, extreme_blocks, random_blocks, same_bits


def scalar_q1_0(block: bytes) -> list[float]:
    """128 signs, eight in a byte, lowest bit first; a set bit is +d."""
    (d,) = struct.unpack_from("<e", block)
    return [d if block[2 + i // 8] >> i % 8 & 1 else -d for i in range(128)]


def scalar_q2_0(block: bytes) -> list[float]:
    """64 pairs of bits, four in a byte, lowest first, meaning -1, 0, 1 and 2."""
    (d,) = struct.unpack_from("<e", block)
    return [d * (-1.0, 0.0, 1.0, 2.0)[block[2 + i // 4] >> 2 * (i % 4) & 3] for i in range(64)]


def small_float(code: int, mantissa_bits: int, bias: int) -> float:
    """Return the value of a float without infinities: exponent, mantissa; exponent 0 is subnormal. Any sign is cut."""
    exponent, mantissa = divmod(code, 1 << mantissa_bits)
    fraction = mantissa / (1 << mantissa_bits)
    return fraction * 2.0 ** (1 - bias) if exponent == 0 else (1 + fraction) * 2.0 ** (exponent - bias)


def e2m1(code: int) -> float:
    """Return the value of a 4-bit float; ggml knows no negative zero."""
    return (-1 if code >> 3 else 1) * small_float(code & 7, 1, 1) + 0.0


def scalar_mxfp4(block: bytes) -> list[float]:
    """A power of two for 32 values: low nibbles first."""
    scale = 2.0 ** (block[0] - 127)
    return [scale * e2m1(block[1 + i % 16] >> 4 * (i // 16) & 15) for i in range(32)]


def scalar_nvfp4(block: bytes) -> list[float]:
    """Four times 16 values, low nibbles first, each with a scale of 4 exponent and 3 mantissa bits; 0x7f means 0."""
    values = []
    for group in range(4):
        scale = 0.0 if block[group] == 0x7F else small_float(block[group] & 0x7F, 3, 7)
        packed = block[4 + 8 * group : 12 + 8 * group]
        values += [scale * e2m1(packed[i % 8] >> 4 * (i // 8) & 15) for i in range(16)]
    return values


SCALAR = {"q1_0": scalar_q1_0, "q2_0": scalar_q2_0, "mxfp4": scalar_mxfp4, "nvfp4": scalar_nvfp4}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", SCALAR)
def test_blocks_one_value_at_a_time(name: str, kernels: str) -> None:
    """GG-8: random blocks and extreme scales equal the loop; products are exact, so Python numbers are enough."""
    blocks = np.concatenate([random_blocks(name, 200, 5), extreme_blocks(name, 6)])
    with np.errstate(over="ignore"):  # the largest exponent of mxfp4 is beyond float32 for values above 3
        expected = np.array([SCALAR[name](block.tobytes()) for block in blocks]).astype(np.float32)
    assert same_bits(dequantize(BY_NAME[name], blocks.reshape(-1), expected.shape, kernels=kernels), expected)


def test_low_bit_blocks_worked_by_hand() -> None:
    """GG-8: d = 0.5; the first bytes hold the bits 10110000 and the pairs 0, 1, 2, 3, lowest first."""
    signs = dequantize(BY_NAME["q1_0"], struct.pack("<e", 0.5) + b"\x0d" + bytes(15), (128,))
    assert signs[:8].tolist() == [0.5, -0.5, 0.5, 0.5, -0.5, -0.5, -0.5, -0.5]
    pairs = dequantize(BY_NAME["q2_0"], struct.pack("<e", 0.5) + b"\xe4" + bytes(15), (64,))
    assert pairs[:5].tolist() == [-0.5, 0.0, 0.5, 1.0, -0.5]
    assert np.signbit(pairs[1]) == 0


def nearest_float32(number: int) -> float:
    """Round an integer to 24 significant bits, ties to even, in integer arithmetic."""
    magnitude = abs(number)
    shift = max(0, magnitude.bit_length() - 24)
    quotient, rest = magnitude >> shift, Fraction(magnitude % (1 << shift), 1 << shift)
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and quotient % 2):
        quotient += 1
    return float((quotient << shift) * (-1 if number < 0 else 1))


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_integers_are_rounded_once(bits: int) -> None:
    """GG-8: signed integers become the nearest float32, ties to even; never by way of float64, which rounds twice."""
    top, generator = 1 << bits - 1, np.random.default_rng(bits)
    numbers = {0, 1, -1, top - 1, -top, *(int(value) for value in generator.integers(-top, top - 1, 2000))}
    for place in range(24, bits - 1):  # ties, and numbers next to them
        for offset in (-1, 0, 1):
            for odd in (0, 1):
                number = (1 << place) + (odd << place - 23) + (1 << place - 24) + offset
                numbers |= {number, -number}
    chosen = sorted(number for number in numbers if -top <= number < top)
    raw = b"".join(number.to_bytes(bits // 8, "little", signed=True) for number in chosen)
    found = dequantize(BY_NAME[f"i{bits}"], raw, (len(chosen),))
    assert found.tolist() == [nearest_float32(number) for number in chosen]
    if bits == 64:  # such numbers are among them: by way of float64 the result would differ
        assert any(float(np.float32(float(number))) != nearest_float32(number) for number in chosen)


@given(st.lists(st.floats(width=64, allow_nan=False, min_value=-3.4e38, max_value=3.4e38), min_size=1))
def test_float64_is_rounded_once(numbers: list[float]) -> None:
    """GG-8: float64 becomes the nearest float32, as `struct` rounds it."""
    found = dequantize(BY_NAME["f64"], struct.pack(f"<{len(numbers)}d", *numbers), (len(numbers),))
    assert same_bits(
        found, np.array(struct.unpack(f"<{len(numbers)}f", struct.pack(f"<{len(numbers)}f", *numbers)), "f")
    )


def test_float64_beyond_float32() -> None:
    """GG-8: what is too large becomes infinite, NaN stays NaN, -0.0 keeps its sign, half the smallest step is 0."""
    numbers = [1e300, -1e300, float("inf"), float("nan"), -0.0, 2.0**-150, 2.0**-149]
    found = dequantize(BY_NAME["f64"], struct.pack("<7d", *numbers), (7,))
    expected = np.array([np.inf, -np.inf, np.inf, np.nan, -0.0, 0.0, 2.0**-149], np.float32)
    assert same_bits(found, expected)
