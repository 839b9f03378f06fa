"""Compute the blocks that mix positions: attention and short convolution (FW-2, FW-5, FW-6, GG-11).

Dimension letters: n positions in this pass, H hidden, D head_dim, A heads, K key/value heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.model.architectures import Architecture
from refruntime.model.hyperparameters import Hyperparameters
from refruntime.model.kv_cache import KVCache
from refruntime.model.layout.tree import AttentionLayout, Convolution
from refruntime.model.weights import Norm, Projection
from refruntime.numerics import AttentionVariant, Numerics
from refruntime.trace import TensorEvent, Tracer

Array = NDArray[Any]


@dataclass(frozen=True)
class Computation:
    """What every block needs besides its weights and its input, which begins at position `start`."""

    numerics: Numerics
    architecture: Architecture
    dimensions: Hyperparameters
    start: int
    tracer: Tracer | None

    def emit(self, name: str, values: Array) -> None:
        """Tell the tracer, if there is one, about a tensor whose first row belongs to `start`."""
        emit(self.tracer, name, self.start, values)


@dataclass(frozen=True)
class Pass(Computation):
    """One pass over n positions from `start` on.

    `angles` and `window_angles` are cosines and sines, each [n, rotated / 2], of plain and of windowed layers.
    """

    cache: KVCache
    angles: tuple[Array, Array]
    window_angles: tuple[Array, Array]


def emit(tracer: Tracer | None, name: str, position: int, values: Array) -> None:
    """Tell a tracer, if there is one, about a tensor."""
    if tracer is not None:
        tracer.event(TensorEvent(name, position, values.shape, values.copy, partial(np.copyto, values)))


def normalise(numerics: Numerics, architecture: Architecture, x: Array, norm: Norm, epsilon: float) -> Array:
    """Normalise rows: [n, H] -> [n, H] (FW-3, GG-11)."""
    if architecture.norm == "layer":
        return numerics.layer_norm(x, norm.weight, norm.bias, epsilon)
    if norm.weight is None:
        raise ValueError("a root mean square norm has a weight (FW-3)")
    return numerics.rms_norm(x, norm.weight, epsilon)


def attention(run: Pass, index: int, weights: AttentionLayout[Projection, Norm, Array], h: Array) -> Array:
    """Return Wo(attention(h)): [n, H] -> [n, H] (FW-2, FW-5, FW-6)."""
    numerics, dimensions, block = run.numerics, run.dimensions, f"blk.{index}."
    n, head_dim = h.shape[0], dimensions.head_dim_of(index)
    q, k, v = _projected(weights.qkv.apply(numerics, h))  # [n, A * D], [n, K * D], [n, K * D]; K is 0 without own keys
    if dimensions.scales.qkv_clamp:
        limit = numerics.dtype(dimensions.scales.qkv_clamp)
        q, k, v = (np.clip(values, -limit, limit) for values in (q, k, v))
    for name, values in (("q", q), ("k", k), ("v", v)):
        if values.size:
            run.emit(f"{block}attn_{name}", values)
    q, k = q.reshape(n, dimensions.head_count, -1), k.reshape(n, -1, head_dim)  # [n, A, D], [n, K, D]
    q, gate = q[..., :head_dim], q[..., head_dim:]  # [n, A, D], [n, A, D or 0]
    if not run.architecture.heads_normalised_behind_rope:
        q, k = _normalised_heads(run, block, q, k, weights)
    if _rotates(run, index):
        q, k = rotate(run, q, k, run.window_angles if dimensions.window(index) else run.angles)
        run.emit(block + "attn_q.rope", q)
        if k.size:
            run.emit(block + "attn_k.rope", k)
    if run.architecture.heads_normalised_behind_rope:
        q, k = _normalised_heads(run, block, q, k, weights)
    if dimensions.scales.query_growth:
        q = q * _growth(run, n)[:, None, None]
        run.emit(block + "attn_q.scaled", q)
    if k.size:
        v = _heads_of_values(run, block, v.reshape(n, -1, head_dim))
        run.cache.store(index, run.start, numerics.kept(k), numerics.kept(v))
    keys, values = run.cache.visible(dimensions.keys_from(index), run.start + n)
    result = numerics.attention(q, keys, values, run.start, *_variant(run, index, weights.sinks))
    run.emit(block + "attn.scores", result.scores)
    run.emit(block + "attn.weights", result.weights)
    run.emit(block + "attn.mixed", result.mixed)
    mixed = result.mixed  # [n, A, D]
    if run.architecture.attention_gated:
        mixed = mixed * numerics.sigmoid(gate)
        run.emit(block + "attn.gated", mixed)
    (output,) = weights.output.apply(numerics, mixed.reshape(n, -1))  # [n, H]
    run.emit(block + "attn_output", output)
    return output


def _projected(parts: list[Array]) -> tuple[Array, Array, Array]:
    """Return queries, keys and values; keys serve as values where these have no matrix, and may be another layer's."""
    q, *others = parts
    nothing = q[:, :0]
    k, v = (nothing, nothing) if not others else (others[0], others[-1])
    return q, k, v


def _heads_of_values(run: Pass, block: str, v: Array) -> Array:
    """Normalise each head of values where the architecture does, without a weight: [n, K, D] -> [n, K, D]."""
    if not run.architecture.values_normalised:
        return v
    rows = v.reshape(-1, v.shape[-1])
    normal = run.numerics.rms_norm(rows, np.ones(v.shape[-1], v.dtype), run.dimensions.rms_norm_epsilon)
    run.emit(block + "attn_v.norm", normal.reshape(len(v), -1))
    return normal.reshape(v.shape)


def _normalised_heads(
    run: Pass, block: str, q: Array, k: Array, weights: AttentionLayout[Projection, Norm, Array]
) -> tuple[Array, Array]:
    """Normalise queries [n, A, D] and keys [n, K, D] by head or by row, as the architecture has it."""

    def normalised(name: str, x: Array, norm: Norm | None) -> Array:
        if norm is None or not x.size:
            return x
        n, _, head_dim = x.shape
        rows = x.reshape(-1, head_dim if run.architecture.norm_of_queries_and_keys == "head" else x[0].size)
        epsilon = run.dimensions.rms_norm_epsilon
        normal = normalise(run.numerics, run.architecture, rows, norm, epsilon)
        run.emit(block + name, normal.reshape(n, -1))
        return normal.reshape(x.shape)

    return normalised("attn_q_norm", q, weights.query_norm), normalised("attn_k_norm", k, weights.key_norm)


def _growth(run: Pass, n: int) -> Array:
    """Return what queries are multiplied with at each position: [n] (GG-14), in float64 and rounded once."""
    length, growth = run.dimensions.scales.query_growth_length, run.dimensions.scales.query_growth
    return run.numerics.array([1 + growth * math.log(1 + at // length) for at in range(run.start, run.start + n)])


def _rotates(run: Pass, index: int) -> bool:
    architecture, dimensions = run.architecture, run.dimensions
    every = architecture.rope_skipped_every
    if architecture.rope_of_windows_only and dimensions.windows is not None and not dimensions.window(index):
        return False
    return architecture.positions == "rotary" and dimensions.rope.applied and not (every and index % every == every - 1)


def rotate(run: Computation, q: Array, k: Array, angles: tuple[Array, Array]) -> tuple[Array, Array]:
    """Rotate queries [n, A, D] and keys [n, K, D]: all of a head or its first numbers, in pairs as they lie (FW-5)."""
    size = 2 * angles[0].shape[1]
    halves = run.architecture.rope_pairs == "halves"
    if size == q.shape[-1] and not halves:
        return run.numerics.rotate(q, k, *angles)
    order = np.arange(size).reshape(2, -1).T.reshape(-1) if halves else np.arange(size)  # pairs side by side
    rotated = run.numerics.rotate(q[..., order], k[..., order], *angles)
    results = q.copy(), k.copy()
    for result, values in zip(results, rotated, strict=True):
        result[..., order] = values
    return results


def _variant(run: Pass, index: int, sinks: Array | None) -> tuple[AttentionVariant, ...]:
    """Return how attention of this layer differs from FW-6, nothing where it does not."""
    dimensions, scales, scale = run.dimensions, run.dimensions.scales, None
    if scales.attention is not None:
        scale = run.numerics.dtype(scales.attention)
    elif scales.attention_dim is not None:
        scale = run.numerics.attention_scale(dimensions.head_count, scales.attention_dim)
    variant = AttentionVariant(
        scale, scales.attention_softcap, dimensions.window(index), queries_scaled=run.architecture.queries_scaled
    )
    if sinks is not None:
        return (variant._replace(sinks=sinks),)
    return () if variant == AttentionVariant() else (variant,)


def convolution(run: Pass, index: int, weights: Convolution[Projection, Array], h: Array) -> Array:
    """Return Wo(c * convolution(b * x)) of b, c, x = Wi h: [n, H] -> [n, H] (GG-11)."""
    numerics, block = run.numerics, f"blk.{index}.shortconv."
    before, behind, x = weights.gates.apply(numerics, h)  # [n, H] each
    gated = before * x  # [n, H]
    run.emit(block + "in_proj", gated)
    run.cache.store_rows(index, "gated", run.start, gated)
    reach = weights.kernel.shape[1] - 1
    read = run.cache.rows(index, "gated", run.start - reach, run.start + h.shape[0])  # [L - 1 + n, H]
    convolved = numerics.causal_convolution(read, weights.kernel)  # [n, H]
    run.emit(block + "conv", convolved)
    (output,) = weights.output.apply(numerics, behind * convolved)  # [n, H]
    run.emit(block + "out_proj", output)
    return output
