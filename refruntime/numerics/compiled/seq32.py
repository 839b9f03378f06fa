"""Profile `seq32` as it is used: the bits of the plain definition, by threads and, where numba is there, by loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.base import PLAIN_ATTENTION, Array, Attention, AttentionVariant
from refruntime.numerics.compiled.loading import Loader, Notice, tell_terminal
from refruntime.numerics.compiled.threads import Range, Threads, ranges
from refruntime.numerics.seq32 import ScaledColumns, Seq32

Float32 = NDArray[np.float32]

THREAD_WORK: Final = 400_000
"""Multiplications in NumPy from which a second thread pays."""

COMPILED_THREAD_WORK: Final = 4_000_000
"""The same for compiled loops."""


class CompiledSeq32(Seq32):
    """Seq32 in several threads, and in compiled loops once loading them pays.

    `kernels`: "numpy"; "numba", ImportError where it cannot be loaded; "auto", which turns from NumPy to numba when so
    much was multiplied that loading it pays. `notice` is told when the loops have to be compiled first. None of these
    changes a bit.
    """

    def __init__(self, threads: int | None = None, kernels: str = "auto", notice: Notice = tell_terminal) -> None:
        self._threads = Threads("seq32", threads)
        self._loader = Loader(kernels, _load, notice)

    @property
    def kernels(self) -> str:
        """Return which loops run now: `numpy` or `numba`."""
        return self._loader.kernels

    def prepare(self) -> None:
        """Turn to the compiled loops now, where they are there, instead of in the middle of somebody's work."""
        self._loader.prepare()

    def parts(self, multiplications: int) -> int:
        """Return into how many tiles the outputs of a product are split at least."""
        return self._threads.parts(multiplications, THREAD_WORK)

    def each(self, work: Callable[[Range], None], tiles: Sequence[Range]) -> None:
        """Do the work of all tiles of outputs, of which none needs another."""
        self._threads.each(work, tiles)

    def project(self, matrix: Float32 | ScaledColumns, x: Array) -> Float32:
        """Multiply: [n, in] -> [n, out]; `acc += w * x` over the columns in index order from 0.0 (FW-4)."""
        inputs, outputs = (matrix.values if isinstance(matrix, ScaledColumns) else matrix).shape
        multiplications = inputs * outputs * len(x)
        loops = self._loader.spend(multiplications)
        if loops is None or isinstance(matrix, ScaledColumns):
            return super().project(matrix, x)
        result = np.empty((len(x), outputs), np.float32)
        flat = result.reshape(-1), matrix.reshape(-1), _flat(x)

        def tile(bounds: Range) -> None:
            loops.project(*flat, len(x), inputs, outputs, *bounds)

        self.each(tile, ranges(outputs, self._threads.parts(multiplications, COMPILED_THREAD_WORK)))
        return result

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        """Normalise rows: [n, H] -> [n, H]; x * inv * weight, left to right (FW-3)."""
        loops = self._loader.loops
        if loops is None:
            return super().rms_norm(x, weight, epsilon)
        normal = np.empty(x.shape, np.float32)  # [n, H]
        loops.rms_norm(normal.reshape(-1), _flat(x), _flat(weight), np.float32(epsilon))
        return normal

    def attention(
        self, q: Array, keys: Array, values: Array, position: int, variant: AttentionVariant = PLAIN_ATTENTION
    ) -> Attention:
        """Attend causally (FW-6, GG-8, GG-11): q [n, A, D], keys [D, K, T], values [T, K, D], T = position + n."""
        loops = self._loader.loops
        if loops is None or variant.sinks is not None:
            return super().attention(q, keys, values, position, variant)
        n, heads, head_dim = q.shape
        kv_heads, visible = keys.shape[1:]
        mixed = np.empty(q.shape, np.float32)
        scores, weights = np.empty((2, heads, n, visible), np.float32)
        flat = mixed.reshape(-1), scores.reshape(-1), weights.reshape(-1), _flat(q), *_run(keys), *_run(values)
        scale = self.attention_scale(heads, head_dim) if variant.scale is None else np.float32(variant.scale)
        choices = scale, np.float32(variant.softcap), min(variant.window or visible, visible)
        shape = (n, heads, head_dim, kv_heads, visible)

        def part(bounds: tuple[int, int]) -> None:
            loops.attention(*flat, *choices, shape, *bounds)

        parts = self._threads.parts(2 * n * heads * head_dim * visible, COMPILED_THREAD_WORK)
        self._threads.each(part, ranges(heads, min(parts, heads)))
        return Attention(mixed, scores, weights)

    def silu(self, x: Array) -> Array:
        """Return x / (1 + exp(-x)), element by element (FW-7)."""
        loops = self._loader.loops
        return super().silu(x) if loops is None else _elementwise(loops.silu, x)

    def exp(self, x: Array) -> Array:
        """Return expf (FW-8)."""
        loops = self._loader.loops
        return super().exp(x) if loops is None else _elementwise(loops.exponential, x)

    def tanh(self, x: Array) -> Array:
        """Return tanhf (FW-8)."""
        loops = self._loader.loops
        return super().tanh(x) if loops is None else _elementwise(loops.hyperbolic_tangent, x)


def _load(notice: Notice) -> ModuleType:
    """Return the module of compiled loops, ready to run; ImportError where numba cannot be loaded."""
    from refruntime.numerics.compiled import loops

    loops.compile_kernels(notice)
    return loops


def _elementwise(kernel: Callable[[Float32, Float32], None], x: Array) -> Float32:
    result = np.empty(x.shape, np.float32)
    kernel(result.reshape(-1), _flat(x))
    return result


def _flat(array: Array) -> Float32:
    return np.ascontiguousarray(array).reshape(-1)


def _run(array: Array) -> tuple[Float32, tuple[int, int]]:
    """Return the elements between the first and the last one of a [a, b, c] view, and the strides of a and b in them.

    So a part of a cache is read where it is. Numbers along c have to be neighbours; a copy helps where they are not.
    """
    if array.strides[2] != array.itemsize or min(array.strides) < 0:
        array = np.ascontiguousarray(array)
    strides = [stride // array.itemsize for stride in array.strides]
    length = 1 + sum((size - 1) * stride for size, stride in zip(array.shape, strides, strict=True))
    run = np.lib.stride_tricks.as_strided(array, (length,), (array.itemsize,))
    return run, (strides[0], strides[1])
