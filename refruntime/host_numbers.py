"""Convert host numbers to wasm parameters as a JavaScript host converts them (ABI-3)."""

from __future__ import annotations

import math
import operator
from typing import SupportsFloat, SupportsIndex

import numpy as np

Number = int | float | SupportsIndex | SupportsFloat


def to_u32(value: Number) -> int:
    """Convert to i32 with unsigned meaning: truncate, modulo 2^32; NaN and infinities give 0."""
    return _integer(value) % 2**32


def to_u64(value: Number) -> int:
    """Convert to i64 with unsigned meaning: modulo 2^64. Only integers: a JavaScript host refuses a Number for i64."""
    try:
        return operator.index(value) % 2**64  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"an i64 parameter takes an integer (BigInt in JavaScript), not {value!r}") from None


def to_f32(value: Number) -> np.float32:
    """Convert to f32: the double is rounded to nearest-even; overflow gives infinity."""
    try:
        double = float(value)
    except OverflowError:  # an integer beyond the doubles
        double = math.inf if operator.index(value) > 0 else -math.inf  # type: ignore[arg-type]
    with np.errstate(over="ignore"):
        return np.float32(double)


def _integer(value: Number) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    double = float(value)
    return int(double) if math.isfinite(double) else 0
