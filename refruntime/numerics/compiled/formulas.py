"""The formulas that have compiled loops with the bits of seq32, for every profile that loads these."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.base import PLAIN_ATTENTION, Array, Attention, AttentionVariant, Numerics
from refruntime.numerics.compiled.threads import Threads, ranges

Float32 = NDArray[np.float32]

COMPILED_THREAD_WORK: Final = 4_000_000
"""Multiplications in compiled loops from which a second thread pays."""


NO_SINKS: Final = np.empty(0, np.float32)


class CompiledFormulas(Numerics):
    """Formulas through compiled loops where these are loaded, else as they are defined."""

    _threads: Threads

    def compiled_loops(self) -> ModuleType | None:
        """Return the module of loops, None before it is loaded."""
        raise NotImplementedError

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        """Normalise rows: [n, H] -> [n, H]; x * inv * weight, left to right (FW-3)."""
        loops = self.compiled_loops()
        if loops is None:
            return super().rms_norm(x, weight, epsilon)
        normal = np.empty(x.shape, np.float32)  # [n, H]
        loops.rms_norm(normal.reshape(-1), flat(x), flat(weight), np.float32(epsilon))
        return normal

    def attention(
        self, q: Array, keys: Array, values: Array, position: int, variant: AttentionVariant = PLAIN_ATTENTION
    ) -> Attention:
        """Attend causally (FW-6, GG-8, GG-11): q [n, A, D], keys [D, K, T], values [T, K, D], T = position + n."""
        loops = self.compiled_loops()
        if loops is None:
            return super().attention(q, keys, values, position, variant)
        n, heads, head_dim = q.shape
        kv_heads, visible = keys.shape[1:]
        mixed = np.empty(q.shape, np.float32)
        scores, weights = np.empty((2, heads, n, visible), np.float32)
        out = mixed.reshape(-1), scores.reshape(-1), weights.reshape(-1)
        operands = *out, flat(q), *_run(keys), *_run(values)
        scale = self.attention_scale(heads, head_dim) if variant.scale is None else np.float32(variant.scale)
        sinks = NO_SINKS if variant.sinks is None else flat(variant.sinks)
        choices = sinks, scale, np.float32(variant.softcap), min(variant.window or visible, visible)
        shape = (n, heads, head_dim, kv_heads, visible)

        def part(bounds: tuple[int, int]) -> None:
            loops.attention(*operands, *choices, shape, *bounds)

        parts = self._threads.parts(2 * n * heads * head_dim * visible, COMPILED_THREAD_WORK)
        self._threads.each(part, ranges(heads, min(parts, heads)))
        return Attention(mixed, scores, weights)

    def rope(self, x: Array, cosines: Array, sines: Array) -> Array:
        """Rotate the adjacent pairs (2i, 2i + 1) of every head: [n, heads, D] -> [n, heads, D] (FW-5)."""
        loops = self.compiled_loops()
        if loops is None:
            return super().rope(x, cosines, sines)
        rotated = np.empty(x.shape, np.float32)
        if rotated.size:
            loops.rotate(rotated.reshape(-1), flat(x), flat(cosines), flat(sines), x.shape[1], cosines.shape[1])
        return rotated

    def scan(self, state: Array, rows: Array, groups: int, decay: Array | None = None) -> tuple[Array, Array]:
        """Take rows [n, width] into a state [S, M, N]: -> the state behind them, what each gives [n, S, M] (GG-14)."""
        loops = self.compiled_loops()
        if loops is None:
            return super().scan(state, rows, groups, decay)
        behind, given = state.copy(), np.empty((len(rows), *state.shape[:2]), np.float32)
        shape = (*state.shape, groups)
        if decay is None:
            query = np.empty(state.shape[2], np.float32)
            loops.delta_net(given.reshape(-1), behind.reshape(-1), flat(rows), query, shape)
        else:
            loops.state_space(given.reshape(-1), behind.reshape(-1), flat(rows), flat(decay), shape)
        return behind, given

    def silu(self, x: Array) -> Array:
        """Return x / (1 + exp(-x)), element by element (FW-7)."""
        loops = self.compiled_loops()
        return super().silu(x) if loops is None else elementwise(loops.silu, x)


def elementwise(kernel: Callable[[Float32, Float32], None], x: Array) -> Float32:
    """Apply a loop to every element."""
    result = np.empty(x.shape, np.float32)
    kernel(result.reshape(-1), flat(x))
    return result


def flat(array: Array) -> Float32:
    """Return the elements as a run of neighbouring numbers, copied where they are none."""
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
