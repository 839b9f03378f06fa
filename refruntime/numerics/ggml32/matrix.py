"""Hold weight matrices as a file stores them, and multiply each with an input in the form that its type asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.ggml32.activations import QUANTIZERS, Activations, as_bfloat, as_half
from refruntime.numerics.ggml32.blocks import FORMS, IntegerBlocks, take_apart
from refruntime.numerics.ggml32.dots import dot, dot_in_float64
from refruntime.numerics.sources import RowSource, StoredSource, row_ranges

if TYPE_CHECKING:
    from refruntime.numerics.ggml32.compiled import CompiledProducts

Float32 = NDArray[np.float32]

TILE: Final = 1 << 20
"""Numbers of weights that are widened to float64 at once, and products of scales that are held at once."""


def _as_single(x: Float32) -> Float32:
    return x


ROUNDINGS: Final[dict[str, Callable[[Float32], Float32]]] = {"f32": _as_single, "f16": as_half, "bf16": as_bfloat}
"""How the input of a product with plain numbers is rounded. What is no type of ggml counts as f32."""


@dataclass(frozen=True)
class PlainRows:
    """Numbers as contiguous columns [in, out], widened to float32, and how an input is rounded before it meets them."""

    columns: Float32
    rounding: str

    @property
    def size(self) -> int:
        """Return the number of weights."""
        return self.columns.size

    def project(self, x: Float32, compiled: CompiledProducts | None) -> Float32:
        """Multiply: [n, in] -> [out, n]."""
        rows = ROUNDINGS[self.rounding](x)
        return dot_in_float64(self.columns.T, rows) if compiled is None else compiled.plain(self.columns, rows)


@dataclass(frozen=True)
class BlockRows:
    """Blocks of [out, in] taken apart."""

    blocks: IntegerBlocks

    @property
    def size(self) -> int:
        """Return the number of weights."""
        return self.blocks.integers.size

    def project(self, x: Float32, compiled: CompiledProducts | None) -> Float32:
        """Quantise and multiply: [n, in] -> [out, n]."""
        kind = self.blocks.form.activation
        return self.multiply(QUANTIZERS[kind](x) if compiled is None else compiled.quantize(kind, x), compiled)

    def multiply(self, rows: Activations, compiled: CompiledProducts | None) -> Float32:
        """Multiply with quantised rows: -> [out, n]."""
        if compiled is not None:
            return compiled.dot(self.blocks, rows)
        out, count = self.blocks.integers.shape[0], len(rows.quants)
        width = rows.quants[0].size
        result = np.empty((out, count), np.float32)
        step = max(1, TILE // max(width, width // 16 * count))
        for start in range(0, out, step):
            tile = slice(start, start + step)
            result[tile] = dot(self.blocks.mapped(itemgetter(tile)), rows)
        return result


@dataclass(frozen=True)
class StoredMatrix:
    """Matrices [out, in] side by side, each with the source that decodes its rows."""

    parts: tuple[PlainRows | BlockRows, ...]
    sources: tuple[RowSource, ...]

    def rows(self, ids: Sequence[int]) -> Float32:
        """Return decoded rows of the only matrix: ids [n] -> [n, in]."""
        (source,) = self.sources
        return np.concatenate([source.rows(row, row + 1) for row in ids])

    def project(self, x: Float32, compiled: CompiledProducts | None) -> Float32:
        """Multiply: [n, in] -> [n, sum of outs]; without compiled loops by NumPy's definition."""
        return np.concatenate([part.project(x, compiled) for part in self.parts]).T

    @property
    def size(self) -> int:
        """Return the number of weights."""
        return sum(part.size for part in self.parts)


def stored_matrix(sources: Sequence[RowSource]) -> StoredMatrix:
    """Take matrices [out, in] that share their input as they are stored."""
    return StoredMatrix(tuple(map(_part, sources)), tuple(sources))


def _part(source: RowSource) -> PlainRows | BlockRows:
    if not isinstance(source, StoredSource):
        return _plain(source, "f32")
    stored = source.stored()
    if stored.type.name in FORMS:
        return BlockRows(take_apart(stored.type, stored.rows))
    return _plain(source, stored.type.name if stored.type.name in ROUNDINGS else "f32")


def _plain(source: RowSource, rounding: str) -> PlainRows:
    """Decode a matrix, a part at a time."""
    columns = np.empty(source.shape[::-1], np.float32)  # [in, out]
    for start, stop in row_ranges(source.shape):
        columns[:, start:stop] = source.rows(start, stop).T
    return PlainRows(columns, rounding)
