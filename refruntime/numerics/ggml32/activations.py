"""Quantise the input of a product as ggml does before a dot: rows to Q8_0, Q8_1 or Q8_K, to float16 or bfloat16.

Source: ggml's `ggml-quants.c` (`quantize_row_q8_0_ref`, `_q8_1_ref`, `_q8_K_ref`) and `ggml-impl.h`. Rows are finite:
what C does with a NaN or an infinity here is not defined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

LIMIT: Final = np.float32(127)
NEAREST: Final = np.float32(12582912)


class Activations(NamedTuple):
    """Rows in blocks: `quants` int8 [n, blocks, size], `scales` float32 [n, blocks]; Q8_1 has `sums` [n, blocks] too.

    Q8_0 and Q8_1 keep scales and sums in half precision, Q8_K in single precision.
    """

    quants: NDArray[np.int8]
    scales: Float32
    sums: Float32


@np.errstate(all="ignore")
def quantize_q8_0(x: Float32) -> Activations:
    """Quantise blocks of 32: d = max |x| / 127, q = x * (1 / d) rounded, halves away from zero: [n, columns]."""
    return _quantize_32(x)[0]


@np.errstate(all="ignore")
def quantize_q8_1(x: Float32) -> Activations:
    """Quantise blocks of 32 as Q8_0, with the sum of the quants times d, d not yet rounded to a half: [n, columns]."""
    activations, scales = _quantize_32(x)
    sums = activations.quants.sum(axis=2, dtype=np.int32).astype(np.float32) * scales
    return activations._replace(sums=as_half(sums))


def _quantize_32(x: Float32) -> tuple[Activations, Float32]:
    blocks = x.reshape(len(x), -1, 32)
    scales = np.abs(blocks).max(axis=2) / LIMIT  # [n, blocks]
    inverse = np.where(scales == 0, np.float32(0), np.float32(1) / scales)
    scaled = blocks * inverse[:, :, None]
    whole = np.trunc(scaled)
    whole += np.where(np.abs(scaled - whole) >= np.float32(0.5), np.sign(scaled), np.float32(0))
    quants = np.where(np.isfinite(whole), whole, np.float32(0)).astype(np.int32).astype(np.int8)
    halves = as_half(scales)
    return Activations(quants, halves, np.zeros_like(halves)), scales


@np.errstate(all="ignore")
def quantize_q8_k(x: Float32) -> Activations:
    """Quantise blocks of 256 so that the largest becomes -127, halves to even: [n, columns].

    1 / d = -127 / (the first number with the largest magnitude).
    """
    blocks = x.reshape(len(x), -1, 256)
    first = np.abs(blocks).argmax(axis=2)[:, :, None]
    inverse = -LIMIT / np.take_along_axis(blocks, first, axis=2)  # [n, blocks, 1]
    empty = np.take_along_axis(blocks, first, axis=2) == 0
    shifted = np.where(empty, np.float32(0), inverse * blocks) + NEAREST  # its lowest bits are the nearest integer
    whole = (shifted.view(np.int32) & np.int32(0x007FFFFF)) - np.int32(0x00400000)
    quants = np.minimum(whole, np.int32(127)).astype(np.int8)
    scales = np.where(empty, np.float32(0), np.float32(1) / inverse)[:, :, 0]
    return Activations(quants, scales, np.zeros_like(scales))


@np.errstate(over="ignore")
def as_half(x: Float32) -> Float32:
    """Round to half precision and widen again; beyond its range infinity."""
    return x.astype(np.float16).astype(np.float32)


def as_bfloat(x: Float32) -> Float32:
    """Round to bfloat16, halves to even, and widen again."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))) & np.uint32(0xFFFF0000)
    quiet = bits & np.uint32(0xFFFF0000) | np.uint32(0x00400000)
    return np.where(np.isnan(x), quiet, rounded).astype(np.uint32).view(np.float32)


QUANTIZERS: Final[dict[str, Callable[[Float32], Activations]]] = {
    "q8_0": quantize_q8_0,
    "q8_1": quantize_q8_1,
    "q8_k": quantize_q8_k,
}
