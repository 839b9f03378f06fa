"""Profile `f64`: everything in float64. It is the truth that says how wrong any float32 runtime may be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.base import Array, Numerics, RowSource, error_function, row_ranges


class F64(Numerics):
    """Float64 storage and arithmetic; weights stay float32, which a product widens exactly."""

    name = "f64"
    dtype = np.float64

    def matrix(self, sources: Sequence[RowSource]) -> NDArray[np.float32]:
        """Stack [out, in] matrices: -> [sum of outs, in]; a part is decoded at a time."""
        stacked = np.empty((sum(source.shape[0] for source in sources), sources[0].shape[1]), np.float32)
        begin = 0
        for source in sources:
            for start, stop in row_ranges(source.shape):
                stacked[begin + start : begin + stop] = source.rows(start, stop)
            begin += source.shape[0]
        return stacked

    def matrix_rows(self, matrix: NDArray[np.float32], ids: Sequence[int]) -> Array:
        """Return rows of a stored matrix: ids [n] -> [n, in]."""
        return matrix[list(ids)].astype(np.float64)  # a tuple would index the axes

    def project(self, matrix: NDArray[np.float32], x: Array) -> Array:
        """Multiply: [n, in] -> [n, out]."""
        result: Array = x @ matrix.astype(np.float64).T
        return result

    def sum_rows(self, terms: Array) -> Array:
        """Add the rows of [k, m]: -> [m]."""
        result: Array = np.add.reduce(terms, axis=0)
        return result

    def exp(self, x: Array) -> Array:
        """Return e to the power of x."""
        return np.exp(x)

    def sin(self, x: Array) -> Array:
        """Return the sine."""
        return np.sin(x)

    def cos(self, x: Array) -> Array:
        """Return the cosine."""
        return np.cos(x)

    def tanh(self, x: Array) -> Array:
        """Return the hyperbolic tangent."""
        return np.tanh(x)

    def erf(self, x: Array) -> Array:
        """Return the error function."""
        return error_function(x)

    def power(self, base: Array, exponent: Array) -> Array:
        """Return base to the power of exponent."""
        return np.power(base, exponent)
