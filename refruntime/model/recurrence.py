"""Compute the blocks that carry a state from position to position: state spaces and gated delta nets (GG-14).

Dimension letters: n positions in this pass, H hidden, S state heads of M numbers each (I = S * M), G groups of N
numbers, C = I + 2 G N channels.

The state behind a position is a function of the rows that were taken in up to it, which the cache keeps. So a caller
may go on anywhere: if the state at hand is not the one that is asked for, the rows are taken in again, with the same
bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.model.blocks import Pass
from refruntime.model.hyperparameters import needed
from refruntime.model.layout.tree import DeltaNet, StateSpace
from refruntime.model.weights import Projection

Array = NDArray[Any]


def state_space(run: Pass, index: int, weights: StateSpace[Projection, Array], h: Array) -> Array:
    """Return Wo(norm(silu(z) * (scan(x, B, C, steps) + d x))) of Wi h: [n, H] -> [n, H] (GG-14)."""
    numerics, sizes, block = run.numerics, needed(run.dimensions.recurrent), f"blk.{index}.ssm_"
    z, channels, steps = weights.input.apply(numerics, h)  # [n, I], [n, C], [n, S]
    run.emit(block + "in", channels)
    taken = _convolved(run, index, weights.kernel, weights.kernel_bias, channels)  # [n, C]
    steps = numerics.softplus(steps + weights.step_bias)  # [n, S]
    decay = weights.decay[:, 0]  # [S]
    scanned = _scan(run, index, np.concatenate([taken, steps], axis=1), decay)  # [n, S, M]
    x = taken[:, : sizes.inner_size].reshape(scanned.shape)  # [n, S, M]
    y = scanned + x * weights.skip[None]  # [n, S, M]
    run.emit(block + "scan", y)
    gated = numerics.silu(z) * y.reshape(z.shape)  # [n, I]
    parts = gated.reshape(-1, sizes.inner_size // sizes.groups)  # [n * G, I / G]
    ones = np.ones(parts.shape[1], parts.dtype)
    grouped = numerics.rms_norm(parts, ones, run.dimensions.rms_norm_epsilon).reshape(len(h), sizes.groups, -1)
    normal = (grouped * weights.norm[None]).reshape(z.shape)  # [n, I]
    run.emit(block + "norm", normal)
    (output,) = weights.output.apply(numerics, normal)  # [n, H]
    run.emit(block + "out", output)
    return output


def delta_net(run: Pass, index: int, weights: DeltaNet[Projection, Array], h: Array) -> Array:
    """Return Wo(norm(scan(q, k, v, decay, beta)) * silu(z)) of h: [n, H] -> [n, H] (GG-14)."""
    numerics, sizes, block = run.numerics, needed(run.dimensions.recurrent), f"blk.{index}."
    n, heads, groups, size = len(h), sizes.heads, sizes.groups, sizes.state_size
    (channels,) = weights.channels.apply(numerics, h)  # [n, C]
    (z,) = weights.gate.apply(numerics, h)  # [n, I]
    (alpha,), (beta,) = weights.alpha.apply(numerics, h), weights.beta.apply(numerics, h)  # [n, S] each
    run.emit(block + "attn_qkv", channels)
    taken = _convolved(run, index, weights.kernel, None, channels)  # [n, C]
    keys = 2 * groups * size
    normal = _unit_rows(run, taken[:, :keys].reshape(-1, size)).reshape(n, keys)
    decays = numerics.softplus(alpha + weights.step_bias) * weights.decay  # [n, S]
    rows = np.concatenate([normal, taken[:, keys:], decays, numerics.sigmoid(beta)], axis=1)
    scanned = _scan(run, index, rows)  # [n, S, M]
    run.emit(block + "ssm_scan", scanned)
    mixed = numerics.rms_norm(scanned.reshape(n * heads, -1), weights.norm, run.dimensions.rms_norm_epsilon)
    gated = mixed.reshape(z.shape) * numerics.silu(z)  # [n, I]
    run.emit(block + "ssm_norm", gated)
    (output,) = weights.output.apply(numerics, gated)  # [n, H]
    run.emit(block + "ssm_out", output)
    return output


def _unit_rows(run: Pass, x: Array) -> Array:
    """Return rows of length 1: each divided by sqrt(mean(x * x) + eps / N), then times 1 / sqrt(N)."""
    numerics, count = run.numerics, x.shape[1]
    ones = np.ones(count, x.dtype)
    normal = numerics.rms_norm(x, ones, float(numerics.dtype(run.dimensions.rms_norm_epsilon) / numerics.dtype(count)))
    unit: Array = normal * (numerics.dtype(1) / np.sqrt(numerics.dtype(count)))
    return unit


def _convolved(run: Pass, index: int, kernel: Array, bias: Array | None, channels: Array) -> Array:
    """Return silu(convolution(channels) + bias), zeros before position 0: [n, C] -> [n, C]."""
    run.cache.store_rows(index, "channels", run.start, channels)
    reach = kernel.shape[1] - 1
    read = run.cache.rows(index, "channels", run.start - reach, run.start + len(channels))  # [L - 1 + n, C]
    convolved = run.numerics.causal_convolution(read, kernel)  # [n, C]
    activated = run.numerics.silu(convolved if bias is None else convolved + bias)
    run.emit(f"blk.{index}.ssm_conv1d", activated)
    return activated


def _scan(run: Pass, index: int, rows: Array, decay: Array | None = None) -> Array:
    """Take in one row after the other: [n, width] -> [n, S, M]; the state behind the last one is kept."""
    sizes, start = needed(run.dimensions.recurrent), run.start
    run.cache.store_rows(index, "taken", start, rows)
    inner = sizes.inner_size // sizes.heads
    empty = np.zeros((sizes.heads, inner, sizes.state_size), run.numerics.dtype)
    known, state = run.cache.state(index, start, empty)
    if known < start:  # another caller's state: take in again what was forwarded
        state, _ = run.numerics.scan(state, run.cache.rows(index, "taken", known, start), sizes.groups, decay)
    state, given = run.numerics.scan(state, rows, sizes.groups, decay)
    run.cache.keep_state(index, start + len(rows), state)
    return given
