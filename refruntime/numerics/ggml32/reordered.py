"""The arithmetic of ggml32 in another order: how far rounding alone carries an engine that follows it.

Builds with vector instructions add the same products in lanes, in float32 and with fused operations. No two do it
alike, and none has to; what they have in common is how large the differences are.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.base import Array
from refruntime.numerics.ggml32.activations import QUANTIZERS, Activations, as_half
from refruntime.numerics.ggml32.blocks import IntegerBlocks
from refruntime.numerics.ggml32.matrix import ROUNDINGS, BlockRows, PlainRows, StoredMatrix
from refruntime.numerics.ggml32.profile import Ggml32
from refruntime.numerics.ggml32.switches import Switches
from refruntime.numerics.sources import RowSource, row_ranges

Float32 = NDArray[np.float32]

ORDERS: Final = ("backwards", "even before odd", "decoded")
"""Blocks from the last to the first, every other one first; and weights and inputs decoded, number by number in lanes.

Where large blocks cancel, the last one is farther away than any order of blocks, as lanes within blocks are.
"""


class Reordered(Ggml32):
    """Ggml32 that adds blocks in one of ORDERS, and plain numbers in float32 as BLAS does.

    Every product ends up to one unit in the last place elsewhere, as fused operations have it, and every power of e, as
    vector instructions have it; `seed` says where.
    """

    def __init__(self, switches: Switches, order: str, seed: int = 1) -> None:
        if order not in ORDERS:
            raise ValueError(f"unknown order {order!r}; expected one of {', '.join(ORDERS)}")
        super().__init__(switches)
        self.order = order
        self._random = np.random.default_rng(seed)
        self.name = f"{self.name} ({order})"

    def project(self, matrix: StoredMatrix, x: Array) -> Float32:
        """Multiply: [n, in] -> [n, out]."""
        self._loader.spend(matrix.size * len(x))
        pairs = zip(matrix.parts, matrix.sources, strict=True)
        result = np.concatenate([self._part(part, source, x) for part, source in pairs], axis=1)
        return moved_by_units(result, self._random)

    def exp(self, x: Array) -> Float32:
        """Return e to the power of x."""
        return moved_by_units(super().exp(x), self._random)

    def _part(self, part: PlainRows | BlockRows, source: RowSource, x: Array) -> Float32:
        if isinstance(part, PlainRows):
            return np.asarray(ROUNDINGS[part.rounding](x) @ part.columns)
        rows = self._quantized(part.blocks.form.activation, np.ascontiguousarray(x))
        if self.order == "decoded":
            return _of_decoded(part.blocks, source, rows)
        pieces = min(rows.scales.shape[1], part.blocks.scales.shape[1])
        rows = Activations(*(self._moved(numbers, pieces) for numbers in rows))
        blocks = part.blocks.mapped(lambda numbers: self._moved(numbers, pieces))
        return BlockRows(blocks).multiply(rows, self._loader.loops).T

    def _quantized(self, kind: str, x: Float32) -> Activations:
        """Quantise rows [n, columns]."""
        return QUANTIZERS[kind](x)

    def _moved(self, numbers: Array, pieces: int) -> Array:
        """Put the blocks of rows [n, blocks, ...] into another order, as so many pieces."""
        split = numbers.reshape(len(numbers), pieces, -1, *numbers.shape[2:])
        return np.ascontiguousarray(split[:, self._order(pieces)]).reshape(numbers.shape)

    def _order(self, count: int) -> NDArray[np.intp]:
        places = np.arange(count)
        return places[::-1] if self.order == ORDERS[0] else np.concatenate([places[::2], places[1::2]])

    def _dots(self, rows: Float32, x: Float32) -> Float32:
        """Multiply [K, r, k] with [K, n, k] in float32: -> [K, r, n]."""
        return np.asarray(rows @ x.transpose(0, 2, 1))


class Requantised(Reordered):
    """Reordered, with blocks of 32 quantised as vector instructions do it: by 127 / maximum, halves to even.

    The scale is the same; a number that lies next to the middle of two quants may become the other one.
    """

    def _quantized(self, kind: str, x: Float32) -> Activations:
        plain = QUANTIZERS[kind](x)
        if kind == "q8_k":
            return plain
        blocks = x.reshape(plain.quants.shape)
        greatest = np.abs(blocks).max(axis=2, keepdims=True)  # [n, blocks, 1]
        with np.errstate(all="ignore"):
            inverse = np.where(greatest > 0, np.float32(127) / greatest, np.float32(0))
            whole = np.rint(blocks * inverse)
        quants = np.where(np.isfinite(whole), whole, np.float32(0)).astype(np.int32).astype(np.int8)
        sums = plain.sums
        if kind == "q8_1":
            sums = as_half(
                quants.sum(axis=2, dtype=np.int32).astype(np.float32) * (greatest[:, :, 0] / np.float32(127))
            )
        return Activations(quants, plain.scales, sums)


def moved_by_units(x: Array, random: np.random.Generator) -> Float32:
    """Return float32 numbers up to one unit in the last place elsewhere; 0, 1 and what is not finite stay."""
    x = np.ascontiguousarray(x, np.float32)
    steps = random.integers(-1, 2, x.shape, np.int32)
    moved: Float32 = (x.view(np.int32) + np.where(np.isfinite(x) & (x != 0) & (x != 1), steps, 0)).view(np.float32)
    return moved


def _of_decoded(blocks: IntegerBlocks, source: RowSource, rows: Activations) -> Float32:
    """Multiply decoded weights with decoded inputs in float32: -> [n, out]."""
    decoded = (rows.quants * rows.scales[:, :, None]).reshape(len(rows.quants), -1)  # [n, in]
    product = np.empty((len(decoded), source.shape[0]), np.float32)
    for start, stop in row_ranges(source.shape):
        product[:, start:stop] = decoded @ source.rows(start, stop).T
    if blocks.form.activation == "q8_1" and blocks.minimum_scales is not None:  # whose sums are kept in half precision
        sums = rows.quants.sum(axis=2, dtype=np.int32).astype(np.float32) * rows.scales
        product += (rows.sums - sums) @ blocks.minimum_scales.T
    return product
