"""Reduction of an angle modulo pi/2, after msun's e_rem_pio2f.c and k_rem_pio2.c.

Three ranges, as in the library: up to 9 pi/4 one float64 pi/2 is subtracted; up to 2**28 pi/2 the 25 + 53 bits of
pi/2 are enough (Cody and Waite); above, the angle is multiplied by the needed digits of 2/pi (Payne and Hanek).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.libm.elementwise import Float32Array, Float64Array, Int32Array, float32_from_bits

Int64Array: TypeAlias = NDArray[np.int64]

HALF_PI = np.float64(float.fromhex("0x1.921fb54442d18p+0"))
TWO_OVER_PI = np.float64(float.fromhex("0x1.45f306dc9c883p-1"))
HALF_PI_HIGH = np.float64(float.fromhex("0x1.921fb5p+0"))  # the first 25 bits of pi/2
HALF_PI_LOW = np.float64(float.fromhex("0x1.110b4611a6263p-26"))
ROUND_TO_INTEGER = np.float64(1.5 * 2.0**52)  # adding and subtracting it rounds to the nearest integer
SMALL_LIMIT = float32_from_bits(0x40E231D5)  # about 9 pi/4
MEDIUM_LIMIT = float32_from_bits(0x4DC90FDB)  # about 2**28 pi/2

# 2/pi = sum of TWO_OVER_PI_DIGITS[i] * 2**(-24 (i + 1)): as many digits as float32 angles can need.
TWO_OVER_PI_DIGITS = np.array(
    [0xA2F983, 0x6E4E44, 0x1529FC, 0x2757D1, 0xF534DD, 0xC0DB62, 0x95993C, 0x439041, 0xFE5163, 0xABDEBB, 0xC561B7],
    dtype=np.int64,
)
# pi/2 cut into pieces short enough that a piece times a 24-bit digit is exact in float64.
HALF_PI_PIECES = tuple(
    np.float64(float.fromhex(piece)) for piece in ("0x1.921fb4p+0", "0x1.4442dp-24", "0x1.84698p-48", "0x1.8cc516p-72")
)
FIRST_DIGIT_COUNT = 4
DIGIT_BITS = 24
DIGIT_MASK = np.int64(0xFFFFFF)


def reduce_by_half_pi(magnitude: Float32Array) -> tuple[Int32Array, Float64Array]:
    """Return quadrant q (right modulo 4) and y with magnitude = q * pi/2 + y, |y| at most about pi/4.

    magnitude [N] is non-negative; infinity and NaN give y = NaN.
    """
    largest = magnitude.max()
    if largest < MEDIUM_LIMIT:  # false also when there is a NaN
        return _reduce_medium(magnitude, bool(largest > SMALL_LIMIT))
    moderate = magnitude < MEDIUM_LIMIT
    quadrant, remainder = _reduce_medium(np.where(moderate, magnitude, np.float32(0)), True)
    huge = np.flatnonzero(~moderate & np.isfinite(magnitude))
    quadrant[huge], remainder[huge] = _reduce_huge(magnitude[huge])
    remainder[~np.isfinite(magnitude)] = np.nan
    return quadrant, remainder


def _reduce_medium(magnitude: Float32Array, beyond_small: bool) -> tuple[Int32Array, Float64Array]:
    angle = magnitude.astype(np.float64)
    turns = angle * TWO_OVER_PI + ROUND_TO_INTEGER - ROUND_TO_INTEGER
    remainder = angle - turns * HALF_PI
    if beyond_small:
        medium = angle - turns * HALF_PI_HIGH - turns * HALF_PI_LOW
        remainder = np.where(magnitude <= SMALL_LIMIT, remainder, medium)
    return turns.astype(np.int32), remainder


def _reduce_huge(magnitude: Float32Array) -> tuple[Int32Array, Float64Array]:
    """Multiply by 2/pi in 24-bit digits; when the fraction is mostly cancelled, again with more digits. Shape [N]."""
    bits = magnitude.view(np.int32).astype(np.int64)
    mantissa = (bits & np.int64(0x7FFFFF)) | np.int64(0x800000)
    exponent = (bits >> np.int64(23)) - np.int64(150)  # magnitude = mantissa * 2**exponent, exponent >= 5
    quadrant = np.empty(magnitude.shape, dtype=np.int32)
    remainder = np.empty(magnitude.shape, dtype=np.float64)
    digit_count = np.full(magnitude.shape, FIRST_DIGIT_COUNT, dtype=np.int64)
    pending = np.arange(magnitude.size)
    while pending.size:
        count = int(digit_count[pending].min())
        group = pending[digit_count[pending] == count]
        quadrant[group], remainder[group], missing = _reduce_with_digits(mantissa[group], exponent[group], count)
        digit_count[group] += missing
        done = group[missing == 0]
        pending = np.setdiff1d(pending, done, assume_unique=True)
    return quadrant, remainder


def _reduce_with_digits(
    mantissa: Int64Array, exponent: Int64Array, digit_count: int
) -> tuple[Int32Array, Float64Array, Int64Array]:
    """Return quadrant, remainder, and how many more digits of 2/pi the element needs (0 = the result holds).

    Digits of 2/pi whose product is a multiple of 8 quarter turns are skipped. Shapes [N].
    """
    skipped = (exponent - 3) // DIGIT_BITS
    point = exponent - DIGIT_BITS * (skipped + 1)  # binary exponent of the leading digit, -21..2
    below_point = np.maximum(-point, 0)  # fraction bits inside the leading digit
    above_point = np.maximum(point, 0)  # integer bits inside the second digit

    # The product in base 2**24, most significant digit first; the leading digit keeps its carry.
    digits = [mantissa * TWO_OVER_PI_DIGITS[skipped + index] for index in range(digit_count)]
    for index in range(digit_count - 1, 0, -1):
        digits[index - 1] = digits[index - 1] + (digits[index] >> DIGIT_BITS)
        digits[index] = digits[index] & DIGIT_MASK

    # Separate the integer part; what stays in `digits` is the fraction.
    quadrant = ((digits[0] >> below_point) << above_point) + (digits[1] >> (DIGIT_BITS - above_point))
    masks = [DIGIT_MASK] * digit_count
    masks[0] = (np.int64(1) << below_point) - 1
    masks[1] = DIGIT_MASK >> above_point
    digits[0] = digits[0] & masks[0]
    digits[1] = digits[1] & masks[1]
    leading_bit = np.where(below_point > 0, digits[0] >> (below_point - 1), digits[1] >> (23 - above_point))
    round_up = leading_bit > 0

    # A fraction of at least one half becomes 1 - fraction, its remainder negative.
    borrow = np.zeros_like(mantissa)
    for index in range(digit_count - 1, -1, -1):
        difference = -digits[index] - borrow
        borrow = (difference < 0).astype(np.int64)
        digits[index] = np.where(round_up, difference & masks[index], digits[index])
    quadrant = quadrant + round_up

    # Too few fraction bits are left when the leading digits vanish.
    settled_from = digit_count - FIRST_DIGIT_COUNT + 1
    vanishing = np.logical_and.reduce([digit == 0 for digit in digits[:settled_from]])
    missing = vanishing.astype(np.int64)
    for digit in digits[settled_from:]:
        vanishing = vanishing & (digit == 0)
        missing = missing + vanishing

    # fraction * pi/2, smallest partial sums first.
    scaled = [
        digit.astype(np.float64) * _power_of_two(point - DIGIT_BITS * index) for index, digit in enumerate(digits)
    ]
    remainder = np.zeros(mantissa.shape, dtype=np.float64)
    for last in range(digit_count - 1, -1, -1):
        partial = np.zeros(mantissa.shape, dtype=np.float64)
        for piece in range(min(len(HALF_PI_PIECES) - 1, last) + 1):
            partial = partial + HALF_PI_PIECES[piece] * scaled[last - piece]
        remainder = remainder + partial
    remainder = np.where(round_up, -remainder, remainder)
    return (quadrant & 7).astype(np.int32), remainder, missing


def _power_of_two(exponent: Int64Array) -> Float64Array:
    """Return 2.0**exponent for exponents in the normal range of float64."""
    return ((exponent + 1023) << np.int64(52)).view(np.float64)
