"""sinf and cosf, after msun's s_sinf.c, s_cosf.c, k_sinf.c and k_cosf.c: float64 inside, rounded once at the end."""

from __future__ import annotations

import numpy as np

from refruntime.numerics.libm.elementwise import Float32Array, Float64Array, apply_elementwise
from refruntime.numerics.libm.pi_reduction import reduce_by_half_pi

SIGN_BIT = np.uint32(0x80000000)

# Odd and even minimax polynomials on [-pi/4, pi/4].
SIN_1 = np.float64(float.fromhex("-0x15555554cbac77.0p-55"))
SIN_2 = np.float64(float.fromhex("0x111110896efbb2.0p-59"))
SIN_3 = np.float64(float.fromhex("-0x1a00f9e2cae774.0p-65"))
SIN_4 = np.float64(float.fromhex("0x16cd878c3b46a7.0p-71"))
COS_0 = np.float64(float.fromhex("-0x1ffffffd0c5e81.0p-54"))
COS_1 = np.float64(float.fromhex("0x155553e1053a42.0p-57"))
COS_2 = np.float64(float.fromhex("-0x16c087e80f1e27.0p-62"))
COS_3 = np.float64(float.fromhex("0x199342e0ee5069.0p-68"))


def sinf(x: Float32Array | np.float32) -> Float32Array:
    """Return sin x as wasm32 Rust's `f32::sin` does (FW-8). float32 radians of any shape -> float32, same shape."""
    return apply_elementwise(_sinf_block, x, name="sinf")


def cosf(x: Float32Array | np.float32) -> Float32Array:
    """Return cos x as wasm32 Rust's `f32::cos` does (FW-8). float32 radians of any shape -> float32, same shape."""
    return apply_elementwise(_cosf_block, x, name="cosf")


def _sinf_block(x: Float32Array) -> Float32Array:
    # Every step of the library is odd in x, so the sign can wait.
    positive = _sine_of_quadrant(np.abs(x), 0)
    return (positive.view(np.uint32) ^ (x.view(np.uint32) & SIGN_BIT)).view(np.float32)


def _cosf_block(x: Float32Array) -> Float32Array:
    return _sine_of_quadrant(np.abs(x), 1)


def _sine_of_quadrant(magnitude: Float32Array, quarter_turns: int) -> Float32Array:
    """Return sin(magnitude + quarter_turns * pi/2); NaN for infinity and NaN. Shape [N]."""
    quadrant, remainder = reduce_by_half_pi(magnitude)
    quadrant = quadrant + np.int32(quarter_turns)
    odd = (quadrant & np.int32(1)).astype(np.bool_)
    value = np.where(odd, _cosine_kernel(remainder), _sine_kernel(remainder)).astype(np.float32)
    # Quadrants 2 and 3 are the negatives of 0 and 1.
    negate = (quadrant.view(np.uint32) & np.uint32(2)) << np.uint32(30)
    return (value.view(np.uint32) ^ negate).view(np.float32)


def _sine_kernel(x: Float64Array) -> Float64Array:
    z = x * x
    w = z * z
    s = z * x
    return (x + s * (SIN_1 + z * SIN_2)) + s * w * (SIN_3 + z * SIN_4)


def _cosine_kernel(x: Float64Array) -> Float64Array:
    z = x * x
    w = z * z
    return ((np.float64(1) + z * COS_0) + w * COS_1) + (w * z) * (COS_2 + z * COS_3)
