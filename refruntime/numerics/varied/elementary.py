"""Other forms of exp, sine and cosine, power and root than those of FW-8: name -> function of float32 arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics import libm

Float32 = NDArray[np.float32]
Unary = Callable[[Any], Float32]

# exp -----------------------------------------------------------------------------------------------------------------

LOG2_E: Final = np.float32(1.4426950408889634)


def _exp_float64(x: Float32) -> Float32:
    return np.exp(x.astype(np.float64)).astype(np.float32)


def _exp2_float32(x: Float32) -> Float32:
    return np.exp2((x * LOG2_E).astype(np.float64)).astype(np.float32)


EXP_SCALE: Final = float.fromhex("0x1.71547652b82fep+0") * 32
EXP_TABLE: Final = np.exp2(np.arange(32) / 32).view(np.int64) - (np.arange(32, dtype=np.int64) << 47)
EXP_CUBIC: Final = tuple(
    float.fromhex(number) / 32**power
    for number, power in (("0x1.c6af84b912394p-5", 3), ("0x1.ebfce50fac4f3p-3", 2), ("0x1.62e42ff0c52d6p-1", 1))
)


def _exp_table(x: Float32) -> Float32:
    """Return expf of musl 1.2 and of newer C libraries: a table of 32 powers of two and a cubic, in float64."""
    z = EXP_SCALE * x.astype(np.float64)
    whole = np.rint(np.minimum(np.maximum(np.where(z == z, z, 0), -4800), 4100))
    r = z - whole
    k = whole.astype(np.int64)
    scale = (EXP_TABLE[k % 32] + (k << 47)).view(np.float64)
    y = (EXP_CUBIC[0] * r + EXP_CUBIC[1]) * (r * r) + (EXP_CUBIC[2] * r + 1)
    result = (y * scale).astype(np.float32)
    result = np.where(x > np.float32(88.72284), np.float32(np.inf), result)
    return np.asarray(np.where(np.isnan(x), x, np.where(x < np.float32(-103.97208), np.float32(0), result)))


_CEPHES: Final = tuple(
    map(np.float32, (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5))
)


def _exp_cephes(x: Float32, square: bool = True) -> Float32:
    """Return expf of Cephes, as most SIMD libraries have it: floor(x log2 e + 0.5), a polynomial of degree 5.

    The polynomial is multiplied by the square of the rest, or by the rest twice.
    """
    x = np.clip(x, np.float32(-88.3762626647949), np.float32(88.3762626647949))
    whole = np.floor(x * LOG2_E + np.float32(0.5))
    x = x - whole * np.float32(0.693359375) - whole * np.float32(-2.12194440e-4)
    y = np.full_like(x, _CEPHES[0])
    for coefficient in _CEPHES[1:]:
        y = y * x + coefficient
    y = (y * (x * x) if square else y * x * x) + x + np.float32(1)
    return np.asarray(np.ldexp(y, np.nan_to_num(whole).astype(np.int32)), np.float32)


EXP: Final[dict[str, Unary]] = {
    "libm": libm.expf,
    "float64 rounded once": _exp_float64,
    "table and cubic in float64": _exp_table,
    "Cephes": _exp_cephes,
    "Cephes, times the rest twice": partial(_exp_cephes, square=False),
    "power of two": _exp2_float32,
    "power of e": lambda x: libm.powf(np.full_like(x, np.e), x),
}

# sine and cosine -----------------------------------------------------------------------------------------------------

TWO_PI: Final = np.float32(2 * np.pi)


def _within_turn(x: Float32) -> Float32:
    return np.asarray(x - np.floor(x / TWO_PI) * TWO_PI)


def _cephes_turn(x: Float32) -> tuple[Float32, NDArray[np.int64]]:
    magnitude = np.abs(x)
    octant = (np.nan_to_num(magnitude) * np.float32(1.27323954473516)).astype(np.int64)
    octant = (octant + 1) & ~1
    y = octant.astype(np.float32)
    for part in (0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8):
        magnitude = magnitude - y * np.float32(part)
    return magnitude, octant


def _cephes_polynomials(x: Float32) -> tuple[Float32, Float32]:
    z = x * x
    cosine = ((np.float32(2.443315711809948e-5) * z - np.float32(1.388731625493765e-3)) * z) + np.float32(
        4.166664568298827e-2
    )
    cosine = cosine * z * z - np.float32(0.5) * z + np.float32(1)
    sine = (np.float32(-1.9515295891e-4) * z + np.float32(8.3321608736e-3)) * z - np.float32(1.6666654611e-1)
    sine = sine * z * x + x
    return sine, cosine


def _sin_cephes(x: Float32) -> Float32:
    reduced, octant = _cephes_turn(x)
    sine, cosine = _cephes_polynomials(reduced)
    result = np.where(octant & 2, cosine, sine)
    return np.where(((octant & 4) != 0) ^ (x < 0), -result, result)


def _cos_cephes(x: Float32) -> Float32:
    reduced, octant = _cephes_turn(x)
    sine, cosine = _cephes_polynomials(reduced)
    result = np.where(octant & 2, sine, cosine)
    return np.where(((octant + 2) & 4) != 0, -result, result)


_QUARTER: Final = (np.float32(1.5703125), np.float32(np.pi / 2 - 1.5703125))
"""A quarter turn in two parts, the first of so few bits that its small multiples are exact."""


def _quarter_turns(x: Float32) -> tuple[Float32, NDArray[np.int64]]:
    turns = np.floor(x * np.float32(2 / np.pi) + np.float32(0.5))
    return x - turns * _QUARTER[0] - turns * _QUARTER[1], np.nan_to_num(turns).astype(np.int64) & 3


def _taylor(x: Float32, first: int) -> Float32:
    """Return 1 - x^2 / (n (n + 1)) ... for sine / x, n = 2 with three terms, or cosine, n = 1 with four, by Horner."""
    count, square = 5 - first, x * x
    factorials = np.cumprod([1.0, *((n * (n + 1)) for n in range(first, first + 2 * count, 2))])
    total = np.full_like(x, (-1.0) ** count / factorials[count])
    for index in reversed(range(count)):
        total = np.float32((-1.0) ** index / factorials[index]) + square * total
    return np.asarray(total, np.float32)


def _taylor_at(x: Float32, quarters: int) -> Float32:
    """Return the sine so many quarter turns further."""
    rest, turns = _quarter_turns(x)
    turns = (turns + quarters) & 3
    result = np.where(turns & 1, _taylor(rest, 1), rest * _taylor(rest, 2))
    return np.asarray(np.where(turns & 2, -result, result), np.float32)


def _cosine_by_root(x: Float32) -> Float32:
    sine = libm.sinf(x)
    root = np.sqrt(np.float32(1) - sine * sine)
    return np.asarray(np.where(libm.cosf(x) < 0, -root, root), np.float32)


SINE: Final[dict[str, tuple[Unary, Unary]]] = {
    "libm": (libm.sinf, libm.cosf),
    "float64 rounded once": (
        lambda x: np.sin(x.astype(np.float64)).astype(np.float32),
        lambda x: np.cos(x.astype(np.float64)).astype(np.float32),
    ),
    "Cephes": (_sin_cephes, _cos_cephes),
    "within one turn": (lambda x: libm.sinf(_within_turn(x)), lambda x: libm.cosf(_within_turn(x))),
    "cosine by sine": (libm.sinf, lambda x: libm.sinf(x + np.float32(np.pi / 2))),
    "cosine by root": (libm.sinf, _cosine_by_root),
    "quarter turns and Taylor": (lambda x: _taylor_at(x, 0), lambda x: _taylor_at(x, 1)),
}

# power ---------------------------------------------------------------------------------------------------------------

Power = Callable[[Any, Any], Float32]


def _power_float64(base: Float32, exponent: Float32) -> Float32:
    return np.power(base.astype(np.float64), exponent.astype(np.float64)).astype(np.float32)


def _power_by_exp(base: Float32, exponent: Float32) -> Float32:
    return libm.expf(exponent * np.log(base.astype(np.float64)).astype(np.float32))


def _power_by_exp2(base: Float32, exponent: Float32) -> Float32:
    product = exponent * np.log2(base.astype(np.float64)).astype(np.float32)
    return np.exp2(product.astype(np.float64)).astype(np.float32)


def _power_by_products(base: Float32, exponent: Float32) -> Float32:
    """Multiply by the first step again and again: exponents are evenly spaced from 0."""
    if exponent.size < 2:
        return libm.powf(base, exponent)
    step = libm.powf(base[1:2], exponent[1:2])
    return np.multiply.accumulate(np.concatenate([np.ones(1, np.float32), np.repeat(step, exponent.size - 1)]))


POWER: Final[dict[str, Power]] = {
    "libm": libm.powf,
    "float64 rounded once": _power_float64,
    "exp of log": _power_by_exp,
    "power of two of log2": _power_by_exp2,
    "products of one step": _power_by_products,
}

# root ----------------------------------------------------------------------------------------------------------------


def _inverse_root(steps: int, x: Float32) -> Float32:
    """Estimate 1 / sqrt(x) from the bits of x, and improve it by Newton's method."""
    y = (np.int32(0x5F3759DF) - (np.asarray(x).view(np.int32) >> np.int32(1))).view(np.float32)
    half = np.float32(0.5) * x
    for _ in range(steps):
        y = y * (np.float32(1.5) - half * y * y)
    return np.asarray(y, np.float32)


def _newton_root(steps: int, x: Float32) -> Float32:
    y = ((np.asarray(x).view(np.int32) >> np.int32(1)) + np.int32(0x1FBD1DF5)).view(np.float32)
    for _ in range(steps):
        y = np.float32(0.5) * (y + x / y)
    return np.asarray(y, np.float32)


def _root_by_inverse(steps: int, x: Float32) -> Float32:
    return x * _inverse_root(steps, x)


def _inverse_by_bits(steps: int, x: Float32, _root: Unary) -> Float32:
    return _inverse_root(steps, x)


ROOT: Final[dict[str, Unary]] = {
    "exact": np.sqrt,
    "power of one half": lambda x: libm.powf(x, np.full_like(x, 0.5)),
    **{f"Newton, {steps} steps": partial(_newton_root, steps) for steps in (2, 3, 4, 5)},
    **{f"value times inverse root, {steps} steps": partial(_root_by_inverse, steps) for steps in (1, 2, 3, 4)},
}

INVERSE_ROOT: Final[dict[str, Callable[[Any, Unary], Float32]]] = {
    "one divided by root": lambda x, root: np.float32(1) / root(x),
    "root of reciprocal": lambda x, root: root(np.float32(1) / x),
    "float64 rounded once": lambda x, _root: (1 / np.sqrt(x.astype(np.float64))).astype(np.float32),
    "power of minus one half": lambda x, _root: libm.powf(x, np.full_like(x, -0.5)),
    **{f"from bits, {steps} steps": partial(_inverse_by_bits, steps) for steps in (1, 2, 3, 4)},
}
