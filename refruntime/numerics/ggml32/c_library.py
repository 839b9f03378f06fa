"""Functions of the C library that ggml's scalar kernels call: those of glibc, or of musl, as WebAssembly builds have.

Both share expf, logf and powf (Arm's optimized routines: tables and polynomials in float64, `c_logarithms` has the last
two), and differ in sine, cosine and hyperbolic tangent; tests hold all of these to the C library of the machine.
Sources: glibc 2.36 `sysdeps/ieee754/flt-32` (`s_sinf.c`, `s_cosf.c`, `s_sincosf.h`, `s_tanhf.c`, `s_expm1f.c`), musl
1.2 `src/math`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics import libm
from refruntime.numerics.base import error_function
from refruntime.numerics.varied.elementary import EXP

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Unary = Callable[[Any], Float32]


def _constants(*numbers: str) -> tuple[float, ...]:
    return tuple(map(float.fromhex, numbers))


COSINE: Final = _constants(
    "0x1p0", "-0x1.ffffffd0c621cp-2", "0x1.55553e1068f19p-5", "-0x1.6c087e89a359dp-10", "0x1.99343027bf8c3p-16"
)
SINE: Final = _constants("-0x1.555545995a603p-3", "0x1.1107605230bc4p-7", "-0x1.994eb3774cf24p-13")
HALF_PI: Final = float.fromhex("0x1.921FB54442D18p0")
TWO_OVER_PI_SCALED: Final = float.fromhex("0x1.45F306DC9C883p+23")  # times 2**24
PI_SCALED: Final = float.fromhex("0x1.921FB54442D18p-62")
TWO_OVER_PI_DIGITS: Final = 0x000000A2F9836E4E441529FC2757D1F534DDC0DB6295993C439041
"""2 / pi, 24 bytes behind three of zeros."""
FAST_REDUCTION_LIMIT: Final = np.float32(120)


def _window(index: int) -> int:
    """Return the 32 bits of 2 / pi that begin at a byte."""
    return TWO_OVER_PI_DIGITS >> 8 * (23 - index) & 0xFFFFFFFF


WINDOWS: Final = np.array([[_window(at + shift) for shift in (0, 4, 8)] for at in range(16)], np.uint64)


def _sine(x: Float32) -> Float32:
    return _sine_or_cosine(x, 0)


def _cosine(x: Float32) -> Float32:
    return _sine_or_cosine(x, 1)


@np.errstate(all="ignore")
def _sine_or_cosine(x: Float32, quarter: int) -> Float32:
    """Reduce to a quarter of a turn in float64, then a polynomial; `quarter` 1 gives the cosine."""
    x = np.asarray(x, np.float32)
    exact = x.astype(np.float64)
    turns, reduced = _reduce_fast(exact)
    magnitude = np.abs(x)
    small, fast = _below(magnitude, np.float32(np.pi / 4)), _below(magnitude, FAST_REDUCTION_LIMIT)
    signs: Any = 0
    if not fast.all():
        large_turns, large = _reduce_large(x)
        turns, reduced = np.where(fast, turns, large_turns), np.where(fast, reduced, large)
        signs = np.where(fast, 0, np.signbit(x))  # the long reduction forgets the sign
    turns = np.where(small, 0, turns)
    reduced = np.where(small, exact, reduced)
    turned = turns + signs
    reduced_signed = reduced * np.where((turned & 3 == 1) | (turned & 3 == 2), -1.0, 1.0)
    negated = turned & 2 != 0
    value = np.where((turns ^ quarter) & 1, _cosine_polynomial(reduced, negated), _sine_polynomial(reduced_signed))
    tiny = _below(magnitude, np.float32(2.0**-12))
    result = np.where(tiny, np.float32(1) if quarter else x, value.astype(np.float32))
    return np.asarray(np.where(np.isfinite(x), result, np.float32(np.nan)), np.float32)


def _below(magnitude: Float32, limit: np.float32) -> NDArray[np.bool_]:
    """Compare the upper twelve bits, as the C library does."""
    below: NDArray[np.bool_] = magnitude.view(np.uint32) >> np.uint32(20) < np.asarray(limit).view(np.uint32) >> 20
    return below


def _reduce_fast(x: Float64) -> tuple[NDArray[np.int64], Float64]:
    scaled = np.clip(np.nan_to_num(x * TWO_OVER_PI_SCALED), -(2.0**31), 2.0**31 - 1).astype(np.int64)
    turns = scaled + 0x800000 >> 24
    return turns, x - turns * HALF_PI


def _reduce_large(x: Float32) -> tuple[NDArray[np.int64], Float64]:
    """Multiply the 24-bit significand with 96 bits of 2 / pi."""
    bits = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64)
    window = WINDOWS[(bits >> np.uint64(26) & np.uint64(15)).astype(np.intp)]
    significand = (bits & np.uint64(0xFFFFFF) | np.uint64(0x800000)) << (bits >> np.uint64(23) & np.uint64(7))
    significand = significand & np.uint64(0xFFFFFFFF)
    first = significand * window[..., 0] & np.uint64(0xFFFFFFFF)
    total = (significand * window[..., 2] >> np.uint64(32) | first << np.uint64(32)) + significand * window[..., 1]
    turns = (total + np.uint64(1 << 61)) >> np.uint64(62)
    total = total - (turns << np.uint64(62))
    return turns.astype(np.int64), total.view(np.int64).astype(np.float64) * PI_SCALED


def _sine_polynomial(x: Float64) -> Float64:
    square = x * x
    cube = x * square
    return (x + cube * SINE[0]) + cube * square * (SINE[1] + square * SINE[2])


def _cosine_polynomial(x: Float64, negated: NDArray[np.bool_]) -> Float64:
    square = x * x
    fourth = square * square
    value = (COSINE[0] + square * COSINE[1] + fourth * COSINE[2]) + fourth * square * (COSINE[3] + square * COSINE[4])
    return np.where(negated, -value, value)


LN2_HIGH, LN2_LOW, INVERSE_LN2 = (
    np.array([0x3F317180, 0x3717F7D1, 0x3FB8AA3B], np.uint32).view(np.float32).astype(np.float32)
)
EXPM1: Final = np.array([0xBD088889, 0x3AD00D01, 0xB8A670CD, 0x36867E54, 0xB457EDBB], np.uint32).view(np.float32)


@np.errstate(all="ignore")
def _hyperbolic_tangent(x: Float32) -> Float32:
    """Return tanh by e**2|x| - 1 from 1 on, by e**-2|x| - 1 below, and 1 from 22 on."""
    x = np.asarray(x, np.float32)
    one, two, magnitude = np.float32(1), np.float32(2), np.abs(x)
    upper = _expm1(two * np.minimum(magnitude, np.float32(22)))
    lower = _expm1(-two * np.minimum(magnitude, np.float32(1)))
    value = np.where(magnitude >= one, one - two / (upper + two), -lower / (lower + two))
    value = np.where(magnitude >= np.float32(22), one, value)
    tiny = magnitude < np.float32(2.0**-55)
    value = np.where(tiny, magnitude, value)
    return np.asarray(np.where(np.isnan(x), x, np.copysign(value, x)), np.float32)


def _expm1(x: Float32) -> Float32:
    """Return e**x - 1 for |x| <= 44, as msun's first edition has it: x = k ln 2 + r, a polynomial of r * r / 2."""
    half, one, two = np.float32(0.5), np.float32(1), np.float32(2)
    magnitude = np.abs(x)
    near = magnitude < np.array(0x3F851592, np.uint32).view(np.float32)  # 1.5 ln 2
    sign = np.where(x < 0, np.float32(-1), one)
    k = np.where(near, sign, np.trunc(INVERSE_LN2 * x + half * sign)).astype(np.int32)
    k = np.where(magnitude > np.array(0x3EB17218, np.uint32).view(np.float32), k, 0)  # 0.5 ln 2
    whole = k.astype(np.float32)
    high, low = x - whole * LN2_HIGH, whole * LN2_LOW
    reduced = np.where(k == 0, x, high - low)
    correction = np.where(k == 0, np.float32(0), (high - reduced) - low)
    half_x = half * reduced
    square = reduced * half_x
    series = EXPM1[4]
    for coefficient in EXPM1[3::-1]:
        series = coefficient + square * series
    series = one + square * series
    t = np.float32(3) - series * half_x
    error = square * ((series - t) / (np.float32(6) - reduced * t))
    plain = reduced - (reduced * error - square)
    error = (reduced * (error - correction) - correction) - square
    minus = half * (reduced - error) - half
    plus = np.where(reduced < np.float32(-0.25), -two * (error - (reduced + half)), one + two * (reduced - error))
    exponent = k << np.int32(23)
    outer = ((one - (error - reduced)).view(np.int32) + exponent).view(np.float32) - one
    power = ((np.int32(127) - k) << np.int32(23)).view(np.float32)  # 2**-k
    middle = (((one - power) - (error - reduced)).view(np.int32) + exponent).view(np.float32)
    upper = (((reduced - (error + power)) + one).view(np.int32) + exponent).view(np.float32)
    result = np.where(k < 23, middle, upper)
    result = np.where((k <= -2) | (k > 56), outer, result)
    result = np.where(k == 1, plus, np.where(k == -1, minus, np.where(k == 0, plain, result)))
    result = np.where((k == 0) & (magnitude < np.float32(2.0**-25)), x, result)
    return np.asarray(np.where(x < np.float32(-27 * np.log(2)), np.float32(-1), result), np.float32)


def _error_function(x: Float32) -> Float32:
    return error_function(x).astype(np.float32)


@dataclass(frozen=True)
class CLibrary:
    """The elementary functions that a build calls."""

    exp: Unary
    sin: Unary
    cos: Unary
    tanh: Unary
    erf: Unary = _error_function


@np.errstate(all="ignore")
def _exponential(x: Float32) -> Float32:
    return EXP["table and cubic in float64"](x)


LIBRARIES: Final[dict[str, CLibrary]] = {
    "glibc": CLibrary(_exponential, _sine, _cosine, _hyperbolic_tangent),
    "musl": CLibrary(_exponential, libm.sinf, libm.cosf, libm.tanhf),
}
