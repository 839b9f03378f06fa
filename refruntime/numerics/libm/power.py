"""powf, after msun's e_powf.c: log2 |x| and its product with y in two float32 words, then 2**(product)."""

from __future__ import annotations

import numpy as np

from refruntime.numerics.libm.elementwise import (
    Float32Array,
    apply_elementwise,
    float32_from_bits,
    scale_by_power_of_two,
)

ZERO = np.float32(0)
ONE = np.float32(1)
TWO = np.float32(2)
HALF = np.float32(0.5)
INFINITY = np.float32(np.inf)
NAN = np.float32(np.nan)

# log2: (3/2) (log x - 2 s) / s^3 as a polynomial in s^2, for s = (x - b) / (x + b), b = 1 or 3/2.
LOG_POLYNOMIAL = tuple(
    float32_from_bits(bits) for bits in (0x3F19999A, 0x3EDB6DB7, 0x3EAAAAAB, 0x3E8BA305, 0x3E6C3255, 0x3E53F142)
)
LOG2_OF_1_5_HIGH = float32_from_bits(0x3F15C000)
LOG2_OF_1_5_LOW = float32_from_bits(0x35D1CFDC)
TWO_OVER_3LN2 = float32_from_bits(0x3F76384F)
TWO_OVER_3LN2_HIGH = float32_from_bits(0x3F764000)
TWO_OVER_3LN2_LOW = float32_from_bits(0xB8F623C6)
SQRT_1_5_MANTISSA = np.int32(0x1CC471)
SQRT_3_MANTISSA = np.int32(0x5DB3D7)
INVERSE_LN2 = float32_from_bits(0x3FB8AA3B)
INVERSE_LN2_HIGH = float32_from_bits(0x3FB8AA00)
INVERSE_LN2_LOW = float32_from_bits(0x36ECA570)

# 2**z: the same scheme as expf, with more terms and ln 2 in two parts.
EXP_POLYNOMIAL = tuple(float32_from_bits(bits) for bits in (0x3E2AAAAB, 0xBB360B61, 0x388AB355, 0xB5DDEA0E, 0x3331BB4C))
LN2 = float32_from_bits(0x3F317218)
LN2_HIGH = float32_from_bits(0x3F317200)
LN2_LOW = float32_from_bits(0x35BFBE8C)
OVERFLOW_SLACK = np.float32(4.2995665694e-08)  # -(128 - log2(largest float + half a unit in its last place))
OVERFLOW_EXPONENT = np.float32(128)
UNDERFLOW_EXPONENT = np.float32(-150)

HUGE_Y = float32_from_bits(0x4D000000)  # 2**27: above it only an x near 1 neither overflows nor underflows
NEAR_ONE_LOW = float32_from_bits(0x3F7FFFF8)
NEAR_ONE_HIGH = float32_from_bits(0x3F800007)
SMALLEST_NORMAL = float32_from_bits(0x00800000)


def powf(x: Float32Array | np.float32, y: Float32Array | np.float32) -> Float32Array:
    """Return x**y as wasm32 Rust's `f32::powf` does (FW-8). float32 arguments, broadcast together -> float32."""
    return apply_elementwise(_powf_block, x, y, name="powf")


def _powf_block(x: Float32Array, y: Float32Array) -> Float32Array:
    """Shapes [N], [N] -> [N]."""
    magnitude = np.abs(x)
    ordinary = (x > ZERO) & (x < INFINITY) & (x != ONE) & (np.abs(y) < INFINITY) & (y != ZERO)
    ordinary &= (np.abs(y) != ONE) & (y != TWO) & (y != HALF)
    if ordinary.all():
        return _power_of_magnitude(x, y)
    regular = np.isfinite(y) & (magnitude > ZERO) & (magnitude < INFINITY)
    power = _power_of_magnitude(np.where(regular, magnitude, ONE), np.where(regular, y, ONE))
    return _with_special_cases(x, y, power)


def _with_special_cases(x: Float32Array, y: Float32Array, power: Float32Array) -> Float32Array:
    """Return x**y, given power = |x|**y for the arguments without a rule of their own. Shapes [N]."""
    magnitude = np.abs(x)
    negative = np.signbit(x)
    y_is_integer = np.trunc(y) == y
    y_is_odd = y_is_integer & (np.trunc(y * HALF) != y * HALF)
    flip = negative & y_is_odd

    from_limits = np.where(y < ZERO, ONE / magnitude, magnitude)  # |x| is 0, 1 or infinite
    toward_infinity = (magnitude > ONE) == (y > ZERO)
    with_infinite_y = np.where(magnitude == ONE, ONE, np.where(toward_infinity, INFINITY, ZERO))
    without_special_y = np.where((magnitude == ZERO) | (magnitude == ONE) | np.isinf(x), from_limits, power)
    without_special_y = np.where(flip, -without_special_y, without_special_y)
    # A negative finite base with an exponent that is no integer has no real power.
    undefined = negative & ~y_is_integer & (magnitude > ZERO) & (magnitude < INFINITY)
    return np.select(
        [
            (y == ZERO) | (x == ONE),  # even when the other argument is NaN
            np.isnan(x) | np.isnan(y),
            np.isinf(y),
            y == ONE,
            y == -ONE,
            y == TWO,
            (y == HALF) & ~negative,
            undefined,
        ],
        [np.ones_like(x), x + y, with_infinite_y, x, ONE / x, x * x, np.sqrt(x), np.full_like(x, NAN)],
        default=without_special_y,
    )


def _power_of_magnitude(x: Float32Array, y: Float32Array) -> Float32Array:
    """Return x**y for finite x > 0 and finite y. Shapes [N], [N] -> [N]."""
    log_high, log_low = _log2(x)
    huge_y = np.abs(y) > HUGE_Y
    decided = np.zeros(x.shape, dtype=np.bool_)
    if huge_y.any():
        near_high, near_low = _log2_near_one(x)
        log_high = np.where(huge_y, near_high, log_high)
        log_low = np.where(huge_y, near_low, log_low)
        decided = huge_y & ((x < NEAR_ONE_LOW) | (x > NEAR_ONE_HIGH))

    # (y_high + y_low) * (log_high + log_low) = product_high + product_low
    y_high = _high_word(y)
    y_low = y - y_high
    product_low = y_low * log_high + y * log_low
    product_high = y_high * log_high
    product = product_low + product_high

    excess = product - product_high
    overflow = (product > OVERFLOW_EXPONENT) | (
        (product == OVERFLOW_EXPONENT) & (product_low + OVERFLOW_SLACK > excess)
    )
    underflow = (product < UNDERFLOW_EXPONENT) | ((product == UNDERFLOW_EXPONENT) & (product_low <= excess))
    if decided.any():
        grows = (x > ONE) == (y > ZERO)
        overflow = np.where(decided, grows, overflow)
        underflow = np.where(decided, ~grows, underflow)
    outside = overflow | underflow
    if not outside.any():
        return _exp2(product, product_high, product_low)
    limit = np.where(overflow, INFINITY, ZERO)
    inside = [np.where(outside, ZERO, word) for word in (product, product_high, product_low)]
    return np.where(outside, limit, _exp2(*inside))


def _log2(x: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return log2 x in two words, for finite x > 0: x = 2**n * m, m near b = 1 or 3/2. Shape [N]."""
    subnormal = x < SMALLEST_NORMAL
    bits = np.where(subnormal, x * np.float32(2**24), x).view(np.int32)
    exponent = (bits >> np.int32(23)) - np.int32(127) - np.where(subnormal, np.int32(24), np.int32(0))
    mantissa = bits & np.int32(0x007FFFFF)
    near_one_and_a_half = (mantissa > SQRT_1_5_MANTISSA) & (mantissa < SQRT_3_MANTISSA)
    near_two = mantissa >= SQRT_3_MANTISSA
    exponent = exponent + near_two
    bits = (mantissa | np.int32(0x3F800000)) - np.where(near_two, np.int32(0x00800000), np.int32(0))
    m = bits.view(np.float32)
    base = np.where(near_one_and_a_half, np.float32(1.5), ONE)
    base_log_high = np.where(near_one_and_a_half, LOG2_OF_1_5_HIGH, ZERO)
    base_log_low = np.where(near_one_and_a_half, LOG2_OF_1_5_LOW, ZERO)

    # s = (m - b) / (m + b) in two words
    difference = m - base
    reciprocal = ONE / (m + base)
    s = difference * reciprocal
    s_high = _high_word(s)
    # The high word of m + b, put together from bits: (m + 1) / 2 in the first step, twice that, and b - 1 on top.
    sum_bits = (((bits >> np.int32(1)) & np.int32(-0x1000)) | np.int32(0x20000000)) + np.int32(0x00400000)
    sum_high = (sum_bits + np.where(near_one_and_a_half, np.int32(1 << 21), np.int32(0))).view(np.float32)
    sum_low = m - (sum_high - base)
    s_low = reciprocal * ((difference - s_high * sum_high) - s_high * sum_low)

    square = s * s
    l1, l2, l3, l4, l5, l6 = LOG_POLYNOMIAL
    tail = square * square * (l1 + square * (l2 + square * (l3 + square * (l4 + square * (l5 + square * l6)))))
    tail = tail + s_low * (s_high + s)
    square = s_high * s_high
    factor_high = _high_word(np.float32(3) + square + tail)
    factor_low = tail - ((factor_high - np.float32(3)) - square)
    log_high, log_low = _split_sum(s_high * factor_high, s_low * factor_high + factor_low * s)
    scaled_high = TWO_OVER_3LN2_HIGH * log_high
    scaled_low = TWO_OVER_3LN2_LOW * log_high + log_low * TWO_OVER_3LN2 + base_log_low
    whole = exponent.astype(np.float32)
    high = _high_word(scaled_high + scaled_low + base_log_high + whole)
    return high, scaled_low - (((high - whole) - base_log_high) - scaled_high)


def _log2_near_one(x: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return log2 x in two words for |x - 1| < 2**-20, by the series of the logarithm. Shape [N]."""
    t = x - ONE  # exact
    w = (t * t) * (HALF - t * (np.float32(0.333333333333) - t * np.float32(0.25)))
    return _split_sum(INVERSE_LN2_HIGH * t, t * INVERSE_LN2_LOW - w * INVERSE_LN2)


def _exp2(z: Float32Array, z_high: Float32Array, z_low: Float32Array) -> Float32Array:
    """Return 2**(z_high + z_low), where z is the rounded sum, -150 <= z <= 128. Shapes [N]."""
    whole = np.where(np.abs(z) > HALF, np.trunc(z + np.copysign(HALF, z)), ZERO)
    z_high = z_high - whole
    t = (z_low + z_high).view(np.uint32) & np.uint32(0xFFFF8000)
    t_float = t.view(np.float32)
    u = t_float * LN2_HIGH
    v = (z_low - (t_float - z_high)) * LN2 + t_float * LN2_LOW
    r = u + v
    w = v - (r - u)
    square = r * r
    p1, p2, p3, p4, p5 = EXP_POLYNOMIAL
    t1 = r - square * (p1 + square * (p2 + square * (p3 + square * (p4 + square * p5))))
    difference = (r * t1) / (t1 - TWO) - (w + r * w)
    return scale_by_power_of_two(ONE - (difference - r), whole.astype(np.int32))


def _high_word(value: Float32Array) -> Float32Array:
    """Clear the last 12 bits, so that a product of two such values is exact."""
    return (value.view(np.uint32) & np.uint32(0xFFFFF000)).view(np.float32)


def _split_sum(high: Float32Array, low: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return high + low as a short high word and the rest."""
    short = _high_word(high + low)
    return short, low - (short - high)
