"""One matrix of a stack of experts, as a weight of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refruntime.model.validated import QuantizedRows, WeightSource
from refruntime.numerics import StoredSource
from refruntime.quants.ggml import StoredRows


class MatrixOfStack:
    """One matrix of a stack [E, out, in]."""

    storage = None

    def __init__(self, stack: WeightSource, index: int) -> None:
        self.stack, self.index = stack, index
        self.name = f"{stack.name}[{index}]"
        self.shape = stack.shape[1:]
        self.type_name = stack.type_name

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return decoded rows of the matrix."""
        matrix: NDArray[np.float32] = self.stack.rows(self.index, self.index + 1)[0]
        return matrix[start:stop]

    def quantized(self) -> QuantizedRows | None:
        """Return None: an option of SLM1 alone, which has no stacks."""
        return None


class StoredMatrixOfStack(MatrixOfStack):
    """One matrix of a stack that can say how it is stored."""

    def stored(self) -> StoredRows:
        """Return the bytes of the matrix."""
        if not isinstance(self.stack, StoredSource):
            raise TypeError(f"{self.stack.name} cannot say how it is stored")
        stack = self.stack.stored()
        return StoredRows(stack.type, stack.rows[self.index].reshape(self.shape[0], -1))
