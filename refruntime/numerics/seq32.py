"""Profile `seq32`: float32 storage, every product and sum rounded to float32 in the contract's order (section 11).

This is the definition, in plain NumPy and one thread. `compiled.seq32` gives the same bits faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics import libm
from refruntime.numerics.base import Array, Numerics, add_rows, error_function
from refruntime.numerics.sources import RowSource, row_ranges

Float32 = NDArray[np.float32]

COLUMN_CHUNK = 64  # columns whose products are formed before they are added
OUTPUT_TILE = 2048  # outputs per tile: a tile of products stays in the second-level cache
PRODUCTS = 131_072  # products that are held at once


class ScaledColumns(NamedTuple):
    """A quantised matrix whose scale is applied after the product (options of FW-4).

    `values` float32 [in, out]; `scales` float32 [in / block_size, out]; `per_block` sums a block before scaling it.
    """

    values: Float32
    scales: Float32
    block_size: int
    per_block: bool


class Seq32(Numerics):
    """Sequential float32; the additions of every output happen in index order, one rounding each.

    `np.add.reduce` over the first axis of a contiguous [k, m] array with m > 1 adds row after row; a test holds it to
    `np.add.accumulate`, which is sequential by definition.
    """

    name = "seq32"
    dtype = np.float32
    storage = "columns"
    of_the_contract = True

    def matrix(self, sources: Sequence[RowSource]) -> Float32:
        """Store [out, in] matrices as contiguous columns [in, sum of outs]; a part is decoded at a time."""
        columns = np.empty((sources[0].shape[1], sum(source.shape[0] for source in sources)), np.float32)
        begin = 0
        for source in sources:
            for start, stop in row_ranges(source.shape):
                columns[:, begin + start : begin + stop] = source.rows(start, stop).T
            begin += source.shape[0]
        return columns

    def matrix_rows(self, matrix: Float32, ids: Sequence[int]) -> Float32:
        """Return rows of a stored matrix: ids [n] -> [n, in]."""
        return np.ascontiguousarray(matrix[:, ids].T)

    def scaled_matrix(
        self, values: NDArray[np.int8], scales: Float32, block_size: int, per_block: bool
    ) -> ScaledColumns:
        """Store int8 values [out, in] and scales [out, in / block_size] for an option of FW-4."""
        return ScaledColumns(
            np.ascontiguousarray(values.T.astype(np.float32)), np.array(scales.T, order="C"), block_size, per_block
        )

    def project(self, matrix: Float32 | ScaledColumns, x: Array) -> Float32:
        """Multiply: [n, in] -> [n, out]; `acc += w * x` over the columns in index order from 0.0 (FW-4)."""
        inputs, outputs = (matrix.values if isinstance(matrix, ScaledColumns) else matrix).shape
        result = np.empty((len(x), outputs), np.float32)
        by_column = np.ascontiguousarray(x.T)  # [in, n]

        def tile(bounds: tuple[int, int]) -> None:
            with np.errstate(all="ignore"):  # the error state belongs to a thread
                _project_tile(matrix, by_column, result, *bounds)

        count = max(self.parts(inputs * outputs * len(x)), -(-outputs // OUTPUT_TILE))
        count = max(1, min(count, outputs // 16))  # no tile of a single output if avoidable
        self.each(tile, [(outputs * at // count, outputs * (at + 1) // count) for at in range(count)])
        return result

    def parts(self, multiplications: int) -> int:
        """Return into how many tiles the outputs of a product are split at least."""
        return 1

    def each(self, work: Callable[[tuple[int, int]], None], tiles: Sequence[tuple[int, int]]) -> None:
        """Do the work of all tiles of outputs, of which none needs another."""
        for bounds in tiles:
            work(bounds)

    def sum_rows(self, terms: Array) -> Array:
        """Add the rows of [k, m] in index order from 0.0: -> [m]."""
        terms = np.ascontiguousarray(terms)
        return add_rows(terms) + np.float32(0)  # a sum from +0.0 is never -0.0

    def exp(self, x: Array) -> Array:
        """Return expf (FW-8)."""
        return libm.expf(x)

    def sin(self, x: Array) -> Array:
        """Return sinf (FW-8)."""
        return libm.sinf(x)

    def cos(self, x: Array) -> Array:
        """Return cosf (FW-8)."""
        return libm.cosf(x)

    def tanh(self, x: Array) -> Array:
        """Return tanhf (FW-8)."""
        return libm.tanhf(x)

    def erf(self, x: Array) -> Array:
        """Return the error function, evaluated in float64 and rounded once (GG-12)."""
        return error_function(x).astype(np.float32)

    def power(self, base: Array, exponent: Array) -> Array:
        """Return powf (FW-8)."""
        return libm.powf(base, exponent)


def _project_tile(matrix: Float32 | ScaledColumns, by_column: Float32, result: Float32, begin: int, end: int) -> None:
    """Fill result[:, begin:end] from columns [in, out] and by_column [in, n]."""
    scaled = matrix if isinstance(matrix, ScaledColumns) else None
    columns = matrix.values if isinstance(matrix, ScaledColumns) else matrix
    inputs, count = by_column.shape
    width = end - begin
    chunk = min(COLUMN_CHUNK, inputs) if scaled is None else scaled.block_size
    group = max(1, min(count, PRODUCTS // (chunk * width)))
    for first in range(0, count, group):
        last = min(first + group, count)
        # Row 0 carries the running sums, so that each chunk continues where the last one stopped.
        terms = np.zeros((chunk + 1, last - first, width), np.float32)  # [chunk + 1, group, width]
        for column in range(0, inputs, chunk):
            size = min(chunk, inputs - column)
            block = columns[column : column + size, None, begin:end]  # [size, 1, width]
            np.multiply(block, by_column[column : column + size, first:last, None], out=terms[1 : size + 1])
            if scaled is None:
                terms[0] = add_rows(terms[: size + 1].reshape(size + 1, -1)).reshape(terms.shape[1:])
                continue
            scale = scaled.scales[column // scaled.block_size, begin:end]  # [width]
            if scaled.per_block:
                running = terms[0].copy()
                terms[0] = 0
                block_sum = add_rows(terms[: size + 1].reshape(size + 1, -1)).reshape(terms.shape[1:])
                terms[0] = running + block_sum * scale
            else:
                terms[1 : size + 1] *= scale
                terms[0] = add_rows(terms[: size + 1].reshape(size + 1, -1)).reshape(terms.shape[1:])
        result[first:last, begin:end] = terms[0]
