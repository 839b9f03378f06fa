"""What a numeric profile is given as weights: matrices that are decoded when asked, a part at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from refruntime.quants.ggml import StoredRows

DECODED_AT_ONCE = 4_194_304  # weights that are decoded before they are stored


class RowSource(Protocol):
    """A weight matrix that is decoded when asked."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return [out, in]."""

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return the float32 values [out, in], or those of rows `start` .. `stop` - 1."""


@runtime_checkable
class StoredSource(Protocol):
    """A weight matrix that can say how a GGUF file stores it."""

    def stored(self) -> StoredRows:
        """Return its type and the bytes of its rows."""


def row_ranges(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Split the rows of a matrix [out, in] into ranges that bound the memory which decoding takes."""
    step = max(1, DECODED_AT_ONCE // max(1, shape[1]))
    for start in range(0, shape[0], step):
        yield start, min(start + step, shape[0])
