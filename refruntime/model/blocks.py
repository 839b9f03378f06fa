"""Compute the blocks of a layer: attention, short convolution, feed-forward, experts (FW-2, FW-5 to FW-7, GG-11).

Dimension letters: n positions in this pass, H hidden, F ffn, D head_dim, A heads, K key/value heads, E experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.model.architectures import Architecture
from refruntime.model.kv_cache import KVCache
from refruntime.model.layout.tree import Attention, Convolution, Experts, FeedForward
from refruntime.model.validated import Hyperparameters
from refruntime.model.weights import Norm, Projection
from refruntime.numerics import AttentionVariant, Numerics
from refruntime.trace import TensorEvent, Tracer

Array = NDArray[Any]

SMALLEST_SHARE_SUM = 2.0**-14
"""Shares of experts are divided by at least this (llama.cpp: the smallest normal float16)."""


@dataclass(frozen=True)
class Pass:
    """One pass over n positions from `start` on: what every block needs besides its weights and its input.

    `angles` and `window_angles` are cosines and sines, each [n, rotated / 2], of plain and of windowed layers.
    """

    numerics: Numerics
    architecture: Architecture
    dimensions: Hyperparameters
    cache: KVCache
    start: int
    angles: tuple[Array, Array]
    window_angles: tuple[Array, Array]
    tracer: Tracer | None

    def emit(self, name: str, values: Array) -> None:
        """Tell the tracer, if there is one, about a tensor whose first row belongs to `start`."""
        emit(self.tracer, name, self.start, values)


def emit(tracer: Tracer | None, name: str, position: int, values: Array) -> None:
    """Tell a tracer, if there is one, about a tensor."""
    if tracer is not None:
        tracer.event(TensorEvent(name, position, values.shape, values.copy))


def normalise(numerics: Numerics, architecture: Architecture, x: Array, norm: Norm, epsilon: float) -> Array:
    """Normalise rows: [n, H] -> [n, H] (FW-3, GG-11)."""
    if architecture.norm == "layer":
        return numerics.layer_norm(x, norm.weight, norm.bias, epsilon)
    assert norm.weight is not None
    return numerics.rms_norm(x, norm.weight, epsilon)


def attention(run: Pass, index: int, weights: Attention[Projection, Norm], h: Array) -> Array:
    """Return Wo(attention(h)): [n, H] -> [n, H] (FW-2, FW-5, FW-6)."""
    numerics, dimensions, block = run.numerics, run.dimensions, f"blk.{index}."
    n, head_dim = h.shape[0], dimensions.head_dim
    q, k, v = weights.qkv.apply(numerics, h)  # [n, A * D], [n, K * D], [n, K * D]
    if dimensions.qkv_clamp:
        limit = numerics.dtype(dimensions.qkv_clamp)
        q, k, v = (np.clip(values, -limit, limit) for values in (q, k, v))
    for name, values in (("q", q), ("k", k), ("v", v)):
        run.emit(f"{block}attn_{name}", values)
    q = _normalised_heads(run, block + "attn_q_norm", q, weights.query_norm).reshape(n, -1, head_dim)  # [n, A, D]
    k = _normalised_heads(run, block + "attn_k_norm", k, weights.key_norm).reshape(n, -1, head_dim)  # [n, K, D]
    if _rotates(run.architecture, index):
        q, k = _rotate(run, q, k, run.window_angles if dimensions.window(index) else run.angles)
        run.emit(block + "attn_q.rope", q)
        run.emit(block + "attn_k.rope", k)
    run.cache.store(index, run.start, k, v.reshape(n, dimensions.kv_head_count, head_dim))
    keys, values = run.cache.visible(index, run.start + n)
    result = numerics.attention(q, keys, values, run.start, *_variant(run, index))
    run.emit(block + "attn.scores", result.scores)
    run.emit(block + "attn.weights", result.weights)
    run.emit(block + "attn.mixed", result.mixed)
    (output,) = weights.output.apply(numerics, result.mixed.reshape(n, -1))  # [n, H]
    run.emit(block + "attn_output", output)
    return output


def _normalised_heads(run: Pass, name: str, x: Array, norm: Norm | None) -> Array:
    """Normalise queries or keys [n, heads * D] by head or by row, as the architecture has it."""
    if norm is None:
        return x
    per_head = run.architecture.norm_of_queries_and_keys == "head"
    rows = x.reshape(-1, run.dimensions.head_dim) if per_head else x
    epsilon = run.dimensions.rms_norm_epsilon
    normal = normalise(run.numerics, run.architecture, rows, norm, epsilon).reshape(x.shape)
    run.emit(name, normal)
    return normal


def _rotates(architecture: Architecture, index: int) -> bool:
    every = architecture.rope_skipped_every
    return architecture.positions == "rotary" and not (every and index % every == every - 1)


def _rotate(run: Pass, q: Array, k: Array, angles: tuple[Array, Array]) -> tuple[Array, Array]:
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


def _variant(run: Pass, index: int) -> tuple[AttentionVariant, ...]:
    """Return how attention of this layer differs from FW-6, nothing where it does not."""
    dimensions, scale = run.dimensions, None
    if dimensions.attention_scale:
        scale = run.numerics.dtype(dimensions.attention_scale)
    elif dimensions.attention_scale_dim:
        scale = run.numerics.attention_scale(dimensions.head_count, dimensions.attention_scale_dim)
    variant = AttentionVariant(scale, dimensions.attention_softcap, dimensions.window(index))
    return () if variant == AttentionVariant() else (variant,)


def convolution(run: Pass, index: int, weights: Convolution[Projection, Array], h: Array) -> Array:
    """Return Wo(c * convolution(b * x)) of b, c, x = Wi h: [n, H] -> [n, H] (GG-11)."""
    numerics, block = run.numerics, f"blk.{index}.shortconv."
    before, behind, x = weights.gates.apply(numerics, h)  # [n, H] each
    gated = before * x  # [n, H]
    run.emit(block + "in_proj", gated)
    run.cache.store_convolved(index, run.start, gated)
    reach = weights.kernel.shape[1] - 1
    read = run.cache.visible_convolved(index, run.start - reach, run.start + h.shape[0])  # [L - 1 + n, H]
    convolved = numerics.causal_convolution(read, weights.kernel)  # [n, H]
    run.emit(block + "conv", convolved)
    (output,) = weights.output.apply(numerics, behind * convolved)  # [n, H]
    run.emit(block + "out_proj", output)
    return output


def feed_forward(run: Pass, index: int, weights: FeedForward[Projection], h: Array) -> Array:
    """Return W2(activation(W1 h) * (W3 h)), without a gate W2(activation(W3 h)): [n, H] -> [n, H] (FW-2, FW-7)."""
    numerics, block = run.numerics, f"blk.{index}."
    parts = weights.up.apply(numerics, h)  # [n, F] each
    for name, values in zip(("ffn_gate", "ffn_up") if len(parts) == 2 else ("ffn_up",), parts, strict=True):
        run.emit(block + name, values)
    hidden = _activated(run, parts)  # [n, F]
    run.emit(block + "ffn_hidden", hidden)
    (output,) = weights.down.apply(numerics, hidden)  # [n, H]
    run.emit(block + "ffn_down", output)
    return output


def _activated(run: Pass, parts: list[Array]) -> Array:
    """Apply the activation to the first part and multiply by the second, where there is one: [n, F]."""
    activation = {
        "silu": run.numerics.silu,
        "gelu tanh": run.numerics.gelu_tanh,
        "gelu erf": run.numerics.gelu_erf,
        "relu squared": run.numerics.relu_squared,
    }[run.architecture.activation]
    hidden = activation(parts[0])
    return hidden * parts[1] if len(parts) == 2 else hidden


def experts(run: Pass, index: int, weights: Experts[Projection], h: Array) -> Array:
    """Add the outputs of the best experts, times their shares, the best first: [n, H] -> [n, H] (GG-11)."""
    numerics, block = run.numerics, f"blk.{index}."
    n, used = h.shape[0], run.dimensions.expert_used_count
    (scores,) = weights.router.apply(numerics, h)  # [n, E]
    probabilities = numerics.softmax(scores[None], np.ones(scores.shape, np.bool_))[0]  # [n, E]
    chosen = np.argsort(-probabilities, axis=1, kind="stable")[:, :used]  # [n, used], of equals the lower index first
    shares = np.take_along_axis(probabilities, chosen, axis=1)  # [n, used]
    if run.architecture.experts_renormalised:
        total = numerics.sum_rows(shares.T)  # [n]
        shares = shares / np.maximum(total, numerics.dtype(SMALLEST_SHARE_SUM))[:, None]
    run.emit(block + "ffn_gate_inp", scores)
    run.emit(block + "ffn_experts", chosen)
    run.emit(block + "ffn_shares", shares)
    outputs = np.empty((used, n, h.shape[1]), numerics.dtype)
    for expert in np.unique(chosen):
        rows, ranks = np.nonzero(chosen == expert)
        parts = weights.experts[expert].up.apply(numerics, h[rows])  # [rows, F] each
        (outputs[ranks, rows],) = weights.experts[expert].down.apply(numerics, _activated(run, parts))
    weighted = outputs * shares.T[:, :, None]  # [used, n, H]
    mixed = numerics.sum_rows(weighted.reshape(used, -1)).reshape(n, -1)  # [n, H]
    run.emit(block + "ffn_down", mixed)
    return mixed
