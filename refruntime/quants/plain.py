"""Decode the types that store plain numbers, in blocks of one element: floats and signed integers, little-endian.

ggml's `to_float` exists for f32, f16 and bf16, and is exact there. For f64 and the integers it has none; they are
converted as a C cast does it: one rounding to the nearest float32, ties to even, beyond the range infinity.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

IN_PAIRS_OF_BYTES: Final = ("f16", "bf16")
"""Types of numbers in two bytes, which compiled loops widen."""
HALF_TO_SINGLE: Final = np.float32(2.0**112)  # exponents are biased by 15 in float16 and by 127 in float32


def decode_f16(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Widen IEEE half precision; exact. [blocks, 2] -> [blocks, 1].

    Moved into the fields of a float32, the bits mean the number times 2**-112, subnormal ones included. Only infinities
    and NaN need NumPy's own, slower conversion.
    """
    bits = blocks.view("<i2")
    if (bits & np.int16(0x7C00)).max() == 0x7C00:
        values[:] = blocks.view("<f2")
        return
    moved = values.view(np.int32)
    moved[:] = bits  # the sign is extended into the upper half
    moved <<= 13
    moved &= np.int32(~0x70000000)  # bit 31 keeps the sign, 30..28 become the upper exponent bits
    values *= HALF_TO_SINGLE


def decode_bf16(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Widen bfloat16: its bits are the upper half of a float32. [blocks, 2] -> [blocks, 1]."""
    bits = values.view(np.uint32)
    bits[:] = blocks.view("<u2")
    bits <<= np.uint32(16)


def decode_f32(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Copy float32. [blocks, 4] -> [blocks, 1]."""
    values[:] = blocks.view("<f4")


def decode_f64(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Round float64 once. [blocks, 8] -> [blocks, 1]."""
    values[:] = blocks.view("<f8")


def decode_i8(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Convert int8; exact. [blocks, 1] -> [blocks, 1]."""
    values[:] = blocks.view(np.int8)


def decode_i16(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Convert int16; exact. [blocks, 2] -> [blocks, 1]."""
    values[:] = blocks.view("<i2")


def decode_i32(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Round int32 once. [blocks, 4] -> [blocks, 1]."""
    values[:] = blocks.view("<i4")


def decode_i64(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Round int64 once. [blocks, 8] -> [blocks, 1]."""
    values[:] = blocks.view("<i8")
