"""Compute the blocks that work on each position alone: feed-forward and experts (FW-2, FW-7, GG-11).

Dimension letters: n positions in this pass, H hidden, F ffn, E experts.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.model.blocks import Computation, normalise
from refruntime.model.hyperparameters import needed
from refruntime.model.layout.tree import Experts, ExpertsBeside, FeedForward, LayerInput
from refruntime.model.weights import Norm, Projection

Array = NDArray[Any]

SMALLEST_SHARE_SUM: Final = 2.0**-14
"""Shares of experts are divided by at least this (llama.cpp: the smallest normal float16)."""

ADDED_TO_SHARE_SUM: Final = 1e-6
"""What transformers adds to the sum of shares instead."""

CLAMP: Final = 7.0
SLOPE: Final = 1.702
"""Constants of the clamped SwiGLU of gpt-oss."""


def feed_forward(run: Computation, index: int, weights: FeedForward[Projection], h: Array) -> Array:
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


def _activated(run: Computation, parts: list[Array]) -> Array:
    """Apply the activation to the first part and multiply by the second, where there is one: [n, F]."""
    numerics, activation = run.numerics, run.architecture.activation
    if activation == "silu clamped":
        return _clamped(run, *parts)
    functions = {
        "silu": numerics.silu,
        "gelu tanh": numerics.gelu_tanh,
        "gelu erf": numerics.gelu_erf,
        "relu squared": numerics.relu_squared,
    }
    hidden = functions[activation](parts[0])
    return hidden * parts[1] if len(parts) == 2 else hidden


def layer_input(run: Computation, index: int, weights: LayerInput[Projection, Norm], x: Array, given: Array) -> Array:
    """Return norm(W2(activation(W1 x) * given)) of what is given to this layer [n, E]: [n, H] -> [n, H] (GG-14)."""
    (gate,) = weights.gate.apply(run.numerics, x)  # [n, E]
    (output,) = weights.output.apply(run.numerics, _activated(run, [gate, given]))  # [n, H]
    normal = normalise(run.numerics, run.architecture, output, weights.norm, run.dimensions.rms_norm_epsilon)
    run.emit(f"blk.{index}.layer_input", normal)
    return normal


def _clamped(run: Computation, gate: Array, up: Array) -> Array:
    """Return g / (1 + exp(-1.702 g)) * (u + 1) of g = min(gate, 7) and u = clamp(up, -7, 7): [n, F] (GG-11)."""
    numerics = run.numerics
    one, limit, slope = (numerics.dtype(constant) for constant in (1, CLAMP, SLOPE))
    g, u = np.minimum(gate, limit), np.clip(up, -limit, limit)
    activated: Array = g / (one + numerics.exp(slope * -g)) * (u + one)
    return activated


def experts_beside(
    run: Computation, index: int, weights: ExpertsBeside[Projection, Norm, Array], h: Array, x: Array
) -> Array:
    """Return norm(dense(h)) + norm(experts(norm(x))), the router reading norm(x) times a scale: [n, H] (GG-14)."""
    numerics, epsilon, size = run.numerics, run.dimensions.rms_norm_epsilon, x.shape[1]

    def normal(rows: Array, norm: Norm) -> Array:
        return normalise(numerics, run.architecture, rows, norm, epsilon)

    dense = normal(feed_forward(run, index, weights.dense, h), weights.dense_norm)  # [n, H]
    routed = numerics.rms_norm(x, np.ones(size, x.dtype), epsilon)  # [n, H]
    routed = routed * (numerics.dtype(1) / np.sqrt(numerics.dtype(size))) * weights.router_scale
    mixed = experts(run, index, weights.experts, normal(x, weights.experts_norm), routed)
    total: Array = dense + normal(mixed, weights.mixed_norm)
    run.emit(f"blk.{index}.ffn_total", total)
    return total


def experts(
    run: Computation, index: int, weights: Experts[Projection, Array], h: Array, routed: Array | None = None
) -> Array:
    """Add the outputs of the best experts, times their shares, the best first: [n, H] -> [n, H] (GG-11).

    The router reads `routed`, or `h`.
    """
    numerics, block = run.numerics, f"blk.{index}."
    n, used = h.shape[0], needed(run.dimensions.experts).used_count
    (scores,) = weights.router.apply(numerics, h if routed is None else routed)  # [n, E]
    chosen, shares = _choose(run, scores, weights.choice_bias)  # [n, used] each
    run.emit(block + "ffn_gate_inp", scores)
    run.emit(block + "ffn_experts", chosen)
    run.emit(block + "ffn_shares", shares)
    outputs = np.empty((used, n, h.shape[1]), numerics.dtype)
    for expert in np.unique(chosen):
        rows, ranks = np.nonzero(chosen == expert)
        parts = weights.experts[expert].up.apply(numerics, h[rows])  # [rows, F] each
        (outputs[ranks, rows],) = weights.experts[expert].down.apply(numerics, _activated(run, parts))
    if weights.output_scales is not None:
        outputs = outputs * weights.output_scales[chosen].T[:, :, None]  # [used, n, H]
    weighted = outputs * shares.T[:, :, None]  # [used, n, H]
    mixed = numerics.sum_rows(weighted.reshape(used, -1)).reshape(n, -1)  # [n, H]
    if weights.shared is not None:
        run.emit(block + "ffn_routed", mixed)
        parts = weights.shared.up.apply(numerics, h)  # [n, F] each
        (shared,) = weights.shared.down.apply(numerics, _activated(run, parts))  # [n, H]
        if weights.shared_gate is not None:
            (score,) = weights.shared_gate.apply(numerics, h)  # [n, 1]
            shared = shared * numerics.sigmoid(score)
        mixed = mixed + shared
    run.emit(block + "ffn_down", mixed)
    return mixed


def _choose(run: Computation, scores: Array, choice_bias: Array | None) -> tuple[Array, Array]:
    """Return which experts each position takes, the best first, and their shares: [n, E] -> [n, used] each (GG-11).

    A bias of the choice decides which are the best, and nothing else. Of equals the lower index comes first.
    """
    numerics, experts = run.numerics, needed(run.dimensions.experts)
    if experts.gating == "sigmoid":
        values = numerics.sigmoid(scores)  # [n, E]
    elif experts.gating == "softmax":
        values = numerics.softmax(scores[None], np.ones(scores.shape, np.bool_))[0]
    else:
        values = scores
    ranking = values if choice_bias is None else values + choice_bias
    chosen = np.argsort(-ranking, axis=1, kind="stable")[:, : experts.used_count]  # [n, used]
    shares = np.take_along_axis(values, chosen, axis=1)  # [n, used]
    if experts.gating == "softmax of the chosen":
        shares = numerics.softmax(shares[None], np.ones(shares.shape, np.bool_))[0]
    if run.architecture.experts_renormalised:
        total = numerics.sum_rows(shares.T)  # [n]
        if run.architecture.share_sum == "plus 1e-6":
            total = total + numerics.dtype(ADDED_TO_SHARE_SUM)
        else:
            total = np.maximum(total, numerics.dtype(SMALLEST_SHARE_SUM))
        shares = shares / total[:, None]
    return chosen, shares
