"""Profile `fast`: float32 through BLAS and compiled loops, for large models and exploration; never for goldens.

Its bits depend on the BLAS, its kernel, the threads and the number of positions in a pass; its formulas are those of
every profile. Activations stay float32, also where weights are quantised: it differs from the other profiles by the
order of additions alone, not by a second quantisation, as runtimes that multiply small integers do.
How far it lies from the others is shown by `refruntime compare MODEL --numerics fast --against seq32`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.base import PLAIN_ATTENTION, Array, Attention, AttentionVariant
from refruntime.numerics.blas import one_blas_thread
from refruntime.numerics.compiled.formulas import CompiledFormulas
from refruntime.numerics.compiled.loading import Loader, Notice
from refruntime.numerics.compiled.threads import Range, Threads, ranges
from refruntime.numerics.in_place import (
    InPlaceMatrix,
    Inventory,
    checked_residence,
    has_blocks,
    in_place,
    residence,
)
from refruntime.numerics.numpy_functions import NumpyFunctions, stacked
from refruntime.numerics.sources import RowSource

if TYPE_CHECKING:
    from refruntime.numerics.compiled.row_products import RowProducts

Float32 = NDArray[np.float32]

THREAD_WORK = 2_000_000
"""Multiplications of many positions from which a second thread pays."""


class Fast(CompiledFormulas, NumpyFunctions):
    """Float32 storage and arithmetic in whatever order is fastest.

    `resident` is one of `in_place.RESIDENT`. Weights that stay stored are read by compiled loops where numba is there,
    else decoded part by part for every pass.
    """

    name = "fast"
    dtype = np.float32

    def __init__(self, resident: str = "auto", threads: int | None = None) -> None:
        self.resident = checked_residence(resident)
        self.storage = "rows in place" if resident == "stored" else "rows"
        self._threads = Threads("fast", threads)
        self._loader = Loader("auto", self._row_products)

    @property
    def compiled(self) -> bool:
        """Say whether single positions take the compiled loop now."""
        return self._loader.loops is not None

    def settled(self, inventory: Inventory) -> Fast:
        """Return the profile for a model with these weights, where `resident` was `auto`."""
        if self.resident != "auto":
            return self
        if inventory.many:
            self._loader.prepare()
        return type(self)(residence(inventory, self.compiled), self._threads.count)

    def working(self) -> AbstractContextManager[None]:
        """Return what surrounds a pass: the BLAS has one thread in it, and tiles of the products are shared out."""
        return one_blas_thread()

    def matrix(self, sources: Sequence[RowSource]) -> Float32 | InPlaceMatrix:
        """Stack [out, in] matrices: -> [sum of outs, in]; or keep them as they are stored."""
        if self.resident != "stored":
            return stacked(sources)
        self._loader.prepare()
        return in_place(sources, stacked)

    def matrix_bytes(self, source: RowSource) -> int:
        """Return the bytes that a stored matrix takes beyond the file."""
        return 0 if self.resident == "stored" and has_blocks(source) else super().matrix_bytes(source)

    def matrix_rows(self, matrix: Float32 | InPlaceMatrix, ids: Sequence[int]) -> Array:
        """Return rows of a stored matrix: ids [n] -> [n, in]."""
        return matrix.rows(ids) if isinstance(matrix, InPlaceMatrix) else matrix[list(ids)]

    def project(self, matrix: Float32 | InPlaceMatrix, x: Array) -> Array:
        """Multiply: [n, in] -> [n, out]."""
        if not isinstance(matrix, InPlaceMatrix):
            return self._product(matrix, x)
        if self._loader.loops is not None:
            return self._loader.loops.in_place(matrix, x)
        result = np.empty((x.shape[0], matrix.shape[0]), np.float32)
        for begin, rows, _ in matrix.decoded():
            result[:, begin : begin + rows.shape[0]] = self._product(rows, x)
        return result

    def _product(self, matrix: Float32, x: Array) -> Float32:
        """Multiply: [out, in], [n, in] -> [n, out]; a single position takes a compiled loop once loading it pays."""
        if x.shape[0] == 1:
            loops = self._loader.spend(matrix.size)
            if loops is not None:
                return loops(matrix, np.ascontiguousarray(x[0]))[None]
        result = np.empty((x.shape[0], matrix.shape[0]), np.float32)

        def tile(bounds: Range) -> None:
            begin, end = bounds
            np.matmul(x, matrix[begin:end].T, out=result[:, begin:end])

        parts = self._threads.parts(matrix.size * x.shape[0], THREAD_WORK)
        self._threads.each(tile, ranges(matrix.shape[0], parts if parts == 1 else min(4 * parts, matrix.shape[0])))
        return result

    def prepare(self) -> None:
        """Load the compiled loop now, where numba is there."""
        self._loader.prepare()

    def _row_products(self, notice: Notice) -> RowProducts:
        from refruntime.numerics.compiled.row_products import RowProducts

        return RowProducts(self._threads, notice)

    def compiled_loops(self) -> ModuleType | None:
        """Return the module of loops, None before it is loaded."""
        return None if self._loader.loops is None else self._loader.loops.formulas

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        """Normalise rows: [n, H] -> [n, H] (FW-3)."""
        if self._loader.loops is not None:
            return super().rms_norm(x, weight, epsilon)
        mean = np.einsum("nh,nh->n", x, x) / np.float32(x.shape[1])  # [n]
        normal: Array = x * (np.float32(1) / np.sqrt(mean + np.float32(epsilon)))[:, None] * weight  # [n, H]
        return normal

    def attention(
        self, q: Array, keys: Array, values: Array, position: int, variant: AttentionVariant = PLAIN_ATTENTION
    ) -> Attention:
        """Attend by a matrix product for each KV head (FW-6): q [n, A, D], keys [D, K, T], values [T, K, D]."""
        if len(q) == 1 and self._loader.loops is not None:
            return super().attention(q, keys, values, position, variant)
        return self._attention_by_products(q, keys, values, position, variant)

    def _attention_by_products(
        self, q: Array, keys: Array, values: Array, position: int, variant: AttentionVariant
    ) -> Attention:
        n, heads, head_dim = q.shape
        kv_heads, visible = keys.shape[1], keys.shape[2]
        group = heads // kv_heads
        queries = q.reshape(n, kv_heads, group, head_dim).transpose(1, 2, 0, 3).reshape(kv_heads, group * n, head_dim)
        scores = (queries @ keys.transpose(1, 0, 2)).reshape(heads, n, visible)  # [A, n, T]
        scores *= self.attention_scale(heads, head_dim) if variant.scale is None else variant.scale
        if variant.softcap:
            scores = self.softcap(scores, variant.softcap)
        if n > 1 or variant.window:
            seen = self.seen(position, n)  # [n, T]
            if variant.window:
                seen &= np.arange(visible) > np.arange(position, position + n)[:, None] - variant.window
            scores = np.where(seen, scores, np.float32(-np.inf))
        maximum = scores.max(axis=-1, keepdims=True)  # [A, n, 1]
        if variant.sinks is not None:
            maximum = np.maximum(maximum, variant.sinks[:, None, None])
        weights = np.exp(scores - maximum)  # [A, n, T]
        sums = weights.sum(axis=-1, keepdims=True)  # [A, n, 1]
        weights /= sums if variant.sinks is None else sums + np.exp(variant.sinks[:, None, None] - maximum)
        mixed = weights.reshape(kv_heads, group * n, visible) @ values.transpose(1, 0, 2)  # [K, G * n, D]
        return Attention(mixed.reshape(heads, n, head_dim).transpose(1, 0, 2), scores, weights)
