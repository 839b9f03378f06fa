"""A compiled matrix-vector product for `fast`, which is bound by memory: rows are summed in any order.

A BLAS waits for all of its threads after every product; on a machine that does anything else, that costs more than the
product. Here a thread that comes late finds its rows done by another one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.compiled.threads import Range, Threads
from refruntime.quants.compiled.loops import kernel

Float32 = NDArray[np.float32]

PART: Final = 1_000_000
"""Multiplications of one part: enough that handing it to a thread costs nothing beside it."""


def _rows(result: Float32, matrix: Float32, x: Float32, begin: int, end: int) -> None:
    """Set result[r] to the dot product of row r with x for r = `begin` .. `end` - 1."""
    for row in range(begin, end):
        total = np.float32(0)
        for column in range(x.size):
            total += matrix[row, column] * x[column]
        result[row] = total


class RowProducts:
    """Multiply matrices [out, in] by a vector with as many threads as there are processors, at most 8."""

    def __init__(self) -> None:
        self._kernel = kernel(_rows, fastmath=True)
        self._threads = Threads("fast")

    def __call__(self, matrix: Float32, x: Float32) -> Float32:
        """Return the product [out] of a contiguous matrix [out, in] and a contiguous vector [in]."""
        rows, columns = matrix.shape
        result = np.empty(rows, np.float32)
        step = max(1, PART // max(columns, 1))

        def part(bounds: Range) -> None:
            self._kernel(result, matrix, x, *bounds)

        self._threads.each(part, [(begin, min(begin + step, rows)) for begin in range(0, rows, step)])
        return result
