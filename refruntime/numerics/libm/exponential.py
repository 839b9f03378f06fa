"""expf and tanhf (with the part of expm1f that tanhf needs), after msun's e_expf.c, s_expm1f.c and s_tanhf.c."""

from __future__ import annotations

import numpy as np

from refruntime.numerics.libm.elementwise import (
    Float32Array,
    Int32Array,
    apply_elementwise,
    float32_from_bits,
    power_of_two,
    scale_by_power_of_two,
)

ONE = np.float32(1)
TWO = np.float32(2)
HALF = np.float32(0.5)
QUARTER = np.float32(0.25)
INVERSE_LN2 = float32_from_bits(0x3FB8AA3B)

# expf: ln 2 in two parts, and R(x^2) = x (e^x + 1) / (e^x - 1) - 2 as a polynomial in x^2.
EXP_LN2_HIGH = float32_from_bits(0x3F317200)
EXP_LN2_LOW = float32_from_bits(0x35BFBE8E)
EXP_P1 = float32_from_bits(0x3E2AAA8F)
EXP_P2 = float32_from_bits(0xBB355215)
EXP_LINEAR_LIMIT = float32_from_bits(0x39000000)  # 2**-13: up to here the result is 1 + x
EXP_NORMAL_LIMIT = float32_from_bits(0x42AEAC50)  # 87.33655: from here on a result may be subnormal or overflow
EXP_OVERFLOW = float32_from_bits(0x42B17218)  # 88.72284
EXP_UNDERFLOW = float32_from_bits(0xC2CFF1B5)  # -103.97208

# expm1f: another split of ln 2, and its polynomial.
EXPM1_LN2_HIGH = float32_from_bits(0x3F317180)
EXPM1_LN2_LOW = float32_from_bits(0x3717F7D1)
EXPM1_Q1 = float32_from_bits(0xBD088868)
EXPM1_Q2 = float32_from_bits(0x3ACF3010)

TANH_HALF_LN_3 = float32_from_bits(0x3F0C9F54)  # ln(3) / 2
TANH_HALF_LN_5_3 = float32_from_bits(0x3E82C578)  # ln(5/3) / 2
TANH_SATURATION = np.float32(10)


def expf(x: Float32Array | np.float32) -> Float32Array:
    """Return e**x as wasm32 Rust's `f32::exp` does (FW-8). float32 of any shape -> float32 of the same shape."""
    return apply_elementwise(_expf_block, x, name="expf")


def tanhf(x: Float32Array | np.float32) -> Float32Array:
    """Return tanh x as wasm32 Rust's `f32::tanh` does. float32 of any shape -> float32 of the same shape."""
    return apply_elementwise(_tanhf_block, x, name="tanhf")


def _expf_block(x: Float32Array) -> Float32Array:
    """Split into x = k ln 2 + r, |r| <= ln(2)/2, and return e**r * 2**k. Shape [N]."""
    if np.abs(x).max() < EXP_NORMAL_LIMIT:  # false also when there is a NaN
        power, exponential = _exp_reduced(x)
        # The result is a normal number, so adding to the exponent field multiplies by 2**power.
        scaled = (exponential.view(np.int32) + (power << np.int32(23))).view(np.float32)
        return _linear_near_zero(x, scaled)
    inside = (x > EXP_UNDERFLOW) & (x < EXP_OVERFLOW)
    safe = np.where(inside, x, ONE)
    power, exponential = _exp_reduced(safe)
    result = _linear_near_zero(safe, scale_by_power_of_two(exponential, power))
    outside = np.where(x > ONE, np.float32(np.inf), np.float32(0))
    outside = np.where(np.isnan(x), x, outside)
    return np.where(inside, result, outside)


def _exp_reduced(x: Float32Array) -> tuple[Int32Array, Float32Array]:
    """Return k and e**(x - k ln 2) for finite x. The library's special cases k = 0 and k = +-1 are the same formula."""
    power = _nearest_multiple_of_ln2(x)
    power_float = power.astype(np.float32)
    high = x - power_float * EXP_LN2_HIGH  # exact
    low = power_float * EXP_LN2_LOW
    reduced = high - low
    square = reduced * reduced
    c = reduced - square * (EXP_P1 + square * EXP_P2)
    return power, ONE + (reduced * c / (TWO - c) - low + high)


def _nearest_multiple_of_ln2(x: Float32Array) -> Int32Array:
    """Return x / ln 2 rounded to the nearest integer, halves away from zero."""
    return (INVERSE_LN2 * x + np.copysign(HALF, x)).astype(np.int32)


def _linear_near_zero(x: Float32Array, result: Float32Array) -> Float32Array:
    return np.where(np.abs(x) <= EXP_LINEAR_LIMIT, ONE + x, result)


def _tanhf_block(x: Float32Array) -> Float32Array:
    """Evaluate tanh |x| = 1 - 2 / (e**2|x| + 1) through expm1f, in the form that cancels least. Shape [N]."""
    magnitude = np.abs(x)
    above_half_ln_3 = magnitude > TANH_HALF_LN_3
    above_half_ln_5_3 = magnitude > TANH_HALF_LN_5_3
    moderate = magnitude <= TANH_SATURATION  # false for NaN
    doubled = TWO * np.where(moderate, magnitude, ONE)
    t = _expm1f(np.where(above_half_ln_5_3, doubled, -doubled))
    denominator = t + TWO
    result = np.where(above_half_ln_3, ONE - TWO / denominator, np.where(above_half_ln_5_3, t, -t) / denominator)
    result = np.where(moderate, result, ONE + np.float32(0) / magnitude)
    return np.copysign(result, x)


def _expm1f(x: Float32Array) -> Float32Array:
    """Return e**x - 1 for -0.52 < x <= 20, the arguments that tanhf has. Shape [N]."""
    power = _nearest_multiple_of_ln2(x)
    power_float = power.astype(np.float32)
    high = x - power_float * EXPM1_LN2_HIGH  # exact
    low = power_float * EXPM1_LN2_LOW
    reduced = high - low
    correction = (high - reduced) - low

    half = HALF * reduced
    half_square = reduced * half
    r1 = ONE + half_square * (EXPM1_Q1 + half_square * EXPM1_Q2)
    t = np.float32(3) - r1 * half
    error = half_square * ((r1 - t) / (np.float32(6) - reduced * t))
    unreduced = reduced - (reduced * error - half_square)
    error = reduced * (error - correction) - correction
    error = error - half_square

    scale = power_of_two(power)
    inverse_scale = power_of_two(-power)
    reduced_less_error = reduced - error
    return np.select(
        [power == 0, power == -1, (power == 1) & (reduced < -QUARTER), power == 1, power < 23],
        [
            unreduced,
            HALF * reduced_less_error - HALF,
            -TWO * (error - (reduced + HALF)),
            ONE + TWO * reduced_less_error,
            (reduced_less_error + (ONE - inverse_scale)) * scale,
        ],
        default=(reduced - (error + inverse_scale) + ONE) * scale,
    )
