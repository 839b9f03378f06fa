"""What the profiles that NumPy itself computes have in common: stacked weights and NumPy's own functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.base import Array, Numerics, error_function
from refruntime.numerics.sources import RowSource, row_ranges

Float32 = NDArray[np.float32]


def decoded_parts(sources: Sequence[RowSource]) -> Iterator[tuple[int, Float32]]:
    """Yield (first row, decoded rows [m, in]) of matrices side by side, a part that bounds memory at a time."""
    begin = 0
    for source in sources:
        for start, stop in row_ranges(source.shape):
            yield begin + start, source.rows(start, stop)
        begin += source.shape[0]


def stacked(sources: Sequence[RowSource]) -> Float32:
    """Decode [out, in] matrices into one: -> [sum of outs, in]."""
    matrix = np.empty((sum(source.shape[0] for source in sources), sources[0].shape[1]), np.float32)
    for begin, rows in decoded_parts(sources):
        matrix[begin : begin + rows.shape[0]] = rows
    return matrix


class NumpyFunctions(Numerics):
    """Compute with NumPy's functions in the profile's own type."""

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
        return error_function(x).astype(self.dtype)

    def power(self, base: Array, exponent: Array) -> Array:
        """Return base to the power of exponent."""
        return np.power(base, exponent)
