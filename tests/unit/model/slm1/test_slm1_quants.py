"""SLM1 quantisation against arithmetic with Python's exact fractions and against hand-made bytes."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import pytest

from refruntime.quants.slm1 import dequantize, pack_q4_0, quantize_q4_0, quantize_q8_0, unpack_q4_0


def nearest_float32(value: Fraction) -> float:
    """Round an exact fraction to float32 with ties to even; the quotient of two float32 is never a tie in float64."""
    result: float = struct.unpack("<f", struct.pack("<f", float(value)))[0]
    return result


def half_away(value: float) -> int:
    """Round half away from zero, exactly."""
    exact = Fraction(value)
    magnitude = int(abs(exact) + Fraction(1, 2))
    return magnitude if exact >= 0 else -magnitude


def by_hand(block: list[float], limit: int) -> tuple[list[int], float]:
    """Quantise one block one number at a time."""
    largest = max(abs(value) for value in block)
    scale = 1.0 if largest == 0 else nearest_float32(Fraction(largest) / limit)
    quotients = [nearest_float32(Fraction(value) / Fraction(scale)) for value in block]
    return [half_away(quotient) for quotient in quotients], scale


def test_nibbles_by_hand() -> None:
    """SL-2: the low nibble comes first, 8..15 mean -8..-1."""
    payload = np.array([0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE], np.uint8)
    values = unpack_q4_0(payload)
    assert values.dtype == np.int8
    assert values.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1]
    assert unpack_q4_0(np.array([0x8F], np.uint8)).tolist() == [-1, -8]


def test_every_byte_packs_back() -> None:
    """SL-2: packing is the inverse of unpacking for all 256 bytes."""
    payload = np.arange(256, dtype=np.uint8)
    values = unpack_q4_0(payload)
    assert values.tolist() == [
        half - 16 if half > 7 else half for byte in range(256) for half in (byte % 16, byte // 16)
    ]
    assert pack_q4_0(values).tolist() == list(range(256))


@pytest.mark.parametrize("seed", range(5))
def test_q8_0_against_fractions(seed: int) -> None:
    """SL-2: one scale per row, largest magnitude / 127, half away from zero."""
    generator = np.random.default_rng(seed)
    rows = (generator.standard_normal((7, 24)) * 10.0 ** generator.integers(-6, 6)).astype(np.float32)
    values, scales = quantize_q8_0(rows)
    assert (values.dtype.name, scales.dtype.name, values.shape, scales.shape) == ("int8", "float32", (7, 24), (7, 1))
    for row in range(7):
        expected, scale = by_hand(rows[row].tolist(), 127)
        assert (values[row].tolist(), scales[row, 0]) == (expected, scale)


@pytest.mark.parametrize("block_size", [2, 4, 8, 24])
def test_q4_0_against_fractions(block_size: int) -> None:
    """SL-2: one scale per block of a row, largest magnitude / 7, half away from zero."""
    rows = np.random.default_rng(block_size).standard_normal((5, 24)).astype(np.float32)
    values, scales = quantize_q4_0(rows, block_size)
    assert (values.shape, scales.shape) == ((5, 24), (5, 24 // block_size))
    for row in range(5):
        for block in range(24 // block_size):
            inside = slice(block * block_size, (block + 1) * block_size)
            expected, scale = by_hand(rows[row, inside].tolist(), 7)
            assert (values[row, inside].tolist(), scales[row, block]) == (expected, scale)


def test_halves_are_rounded_away_from_zero() -> None:
    """SL-2: with the scale 1, halves go outwards and the numbers just below them go inwards."""
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    values, scales = quantize_q8_0(np.array([[127, 0.5, -0.5, 1.5, -1.5, 2.5, below, -below]], np.float32))
    assert scales.tolist() == [[1.0]]
    assert values.tolist() == [[127, 1, -1, 2, -2, 3, 0, 0]]


def test_zero_rows_and_tiny_rows_have_usable_scales() -> None:
    """SL-2: a zero row gets the scale 1, and a scale that would underflow to 0 becomes the smallest float32."""
    tiny = np.float32(2.0**-149)
    values, scales = quantize_q8_0(np.array([[0, -0.0], [tiny, -tiny * 3]], np.float32))
    assert scales[:, 0].tolist() == [1.0, float(tiny)]
    assert values.tolist() == [[0, 0], [1, -3]]
    values, scales = quantize_q4_0(np.array([[0, 0, tiny, 0]], np.float32), 2)
    assert scales.tolist() == [[1.0, float(tiny)]]
    assert values.tolist() == [[0, 0, 1, 0]]


def test_values_are_clipped() -> None:
    """SL-2: a scale that was rounded down to a subnormal makes large quotients, which stay in range."""
    row = np.array([[2.0**-149 * 190, -(2.0**-149) * 190]], np.float32)  # / 127 = 1.496 units -> 1 unit
    assert quantize_q8_0(row)[0].tolist() == [[127, -128]]
    row = np.array([[2.0**-149 * 10, -(2.0**-149) * 10]], np.float32)  # / 7 = 1.43 units -> 1 unit
    assert quantize_q4_0(row, 2)[0].tolist() == [[7, -8]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_values_are_refused(bad: float) -> None:
    """SL-2: no finite scale can express them."""
    with pytest.raises(ValueError, match="finite"):
        quantize_q8_0(np.array([[1.0, bad]], np.float32))
    with pytest.raises(ValueError, match="finite"):
        quantize_q4_0(np.array([[1.0, bad]], np.float32), 2)


@pytest.mark.parametrize("block_size", [-2, 0, 1, 3, 4, 12])
def test_bad_block_sizes_are_refused(block_size: int) -> None:
    """SL-2: a q4_0 block is an even divisor of the row."""
    with pytest.raises(ValueError, match="even divisor"):
        quantize_q4_0(np.zeros((1, 6), np.float32), block_size)


def test_dequantize_rounds_once() -> None:
    """SL-2, FW-1: every q8_0 value times awkward scales equals the exact product rounded to float32."""
    scales = np.array([[0.1], [1 / 3], [1e-45], [2.0e36], [1.1754944e-38]], np.float32)
    values = np.tile(np.arange(-128, 128, dtype=np.int8), (5, 1))
    result = dequantize(values.reshape(5, 1, 256), scales).reshape(5, 256)
    for row in range(5):
        expected = [nearest_float32(Fraction(int(value)) * Fraction(float(scales[row, 0]))) for value in values[row]]
        assert result[row].tolist() == expected
