"""Profile `fast`: float32 through BLAS and compiled loops, for large models and exploration; never for goldens.

Its bits depend on the BLAS, its kernel and the number of positions in a pass; its formulas are those of every profile.
How far it lies from the others is shown by `refruntime compare MODEL --numerics fast --against seq32`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.base import PLAIN_ATTENTION, Array, Attention, AttentionVariant
from refruntime.numerics.compiled.loading import Loader, Notice
from refruntime.numerics.numpy_functions import NumpyFunctions, decoded_parts, stacked
from refruntime.numerics.sources import RowSource

Float32 = NDArray[np.float32]

RESIDENT: Final = ("float32", "quantized")


class QuantizedMatrix:
    """Matrices [out, in] that share their input, decoded a part at a time whenever they are used."""

    def __init__(self, sources: Sequence[RowSource]) -> None:
        self.sources = tuple(sources)
        self.shape = sum(source.shape[0] for source in sources), sources[0].shape[1]

    def rows(self, ids: Sequence[int]) -> Float32:
        """Return single rows of the only matrix, such as embeddings: ids [n] -> [n, in]."""
        (source,) = self.sources
        return np.concatenate([source.rows(token, token + 1) for token in ids])


class Fast(NumpyFunctions):
    """Float32 storage and arithmetic in whatever order is fastest.

    `resident` is `float32`, every weight decoded once, or `quantized`: weights stay as the file stores them and are
    decoded part by part for every pass, which takes the memory of the file alone.
    """

    name = "fast"
    dtype = np.float32

    def __init__(self, resident: str = "float32") -> None:
        if resident not in RESIDENT:
            raise ValueError(f"unknown residence {resident!r}; expected one of {', '.join(RESIDENT)}")
        self.resident = resident
        self.storage = "rows" if resident == "float32" else "sources"
        self._loader = Loader("auto", _row_products)

    @property
    def compiled(self) -> bool:
        """Say whether single positions take the compiled loop now."""
        return self._loader.loops is not None

    def matrix(self, sources: Sequence[RowSource]) -> Float32 | QuantizedMatrix:
        """Stack [out, in] matrices: -> [sum of outs, in]; or keep them as they are stored."""
        return QuantizedMatrix(sources) if self.resident == "quantized" else stacked(sources)

    def matrix_bytes(self, source: RowSource) -> int:
        """Return the bytes that a stored matrix takes beyond the file."""
        return 0 if self.resident == "quantized" else super().matrix_bytes(source)

    def matrix_rows(self, matrix: Float32 | QuantizedMatrix, ids: Sequence[int]) -> Array:
        """Return rows of a stored matrix: ids [n] -> [n, in]."""
        return matrix.rows(ids) if isinstance(matrix, QuantizedMatrix) else matrix[list(ids)]

    def project(self, matrix: Float32 | QuantizedMatrix, x: Array) -> Array:
        """Multiply: [n, in] -> [n, out]."""
        if not isinstance(matrix, QuantizedMatrix):
            return self._product(matrix, x)
        result = np.empty((x.shape[0], matrix.shape[0]), np.float32)
        for begin, rows in decoded_parts(matrix.sources):
            result[:, begin : begin + rows.shape[0]] = self._product(rows, x)
        return result

    def _product(self, matrix: Float32, x: Array) -> Float32:
        """Multiply: [out, in], [n, in] -> [n, out]; a single position takes a compiled loop once loading it pays."""
        if x.shape[0] > 1:
            return np.asarray(x @ matrix.T)
        product = self._loader.spend(matrix.size)
        if product is None:
            return np.asarray(matrix @ x[0])[None]
        return product(matrix, np.ascontiguousarray(x[0]))[None]

    def prepare(self) -> None:
        """Load the compiled loop now, where numba is there."""
        self._loader.prepare()

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        """Normalise rows: [n, H] -> [n, H] (FW-3)."""
        mean = np.einsum("nh,nh->n", x, x) / np.float32(x.shape[1])  # [n]
        normal: Array = x * (np.float32(1) / np.sqrt(mean + np.float32(epsilon)))[:, None] * weight  # [n, H]
        return normal

    def attention(
        self, q: Array, keys: Array, values: Array, position: int, variant: AttentionVariant = PLAIN_ATTENTION
    ) -> Attention:
        """Attend by a matrix product for each KV head (FW-6): q [n, A, D], keys [D, K, T], values [T, K, D]."""
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


def _row_products(_: Notice) -> Callable[[Float32, Float32], Float32]:
    from refruntime.numerics.compiled.row_products import RowProducts

    return RowProducts()
