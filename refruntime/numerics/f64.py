"""Profile `f64`: everything in float64. It is the truth that says how wrong any float32 runtime may be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.base import Array
from refruntime.numerics.numpy_functions import NumpyFunctions, stacked
from refruntime.numerics.sources import RowSource


class F64(NumpyFunctions):
    """Float64 storage and arithmetic; weights stay float32, which a product widens exactly."""

    name = "f64"
    dtype = np.float64
    storage = "rows"

    def matrix(self, sources: Sequence[RowSource]) -> NDArray[np.float32]:
        """Stack [out, in] matrices: -> [sum of outs, in]."""
        return stacked(sources)

    def matrix_rows(self, matrix: NDArray[np.float32], ids: Sequence[int]) -> Array:
        """Return rows of a stored matrix: ids [n] -> [n, in]."""
        return matrix[list(ids)].astype(np.float64)  # a tuple would index the axes

    def project(self, matrix: NDArray[np.float32], x: Array) -> Array:
        """Multiply: [n, in] -> [n, out]."""
        result: Array = x @ matrix.astype(np.float64).T
        return result
