"""Compute the blocks that carry a state from position to position: state spaces and gated delta nets (GG-14).

Dimension letters: n positions in this pass, H hidden, S state heads of M numbers each (I = S * M), G groups of N
numbers, C = I + 2 G N channels.

The state behind a position is a function of the rows that were taken in up to it, which the cache keeps. So a caller
may go on anywhere: if the state at hand is not the one that is asked for, the rows are taken in again, with the same
bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.model.blocks import Pass
from refruntime.model.hyperparameters import needed
from refruntime.model.layout.tree import DeltaNet, StateSpace
from refruntime.model.weights import Projection

Array = NDArray[Any]
Step = Callable[[Array, Array], tuple[Array, Array]]
"""State and the row of a position -> the state behind it and what it gives [S, M]."""


def state_space(run: Pass, index: int, weights: StateSpace[Projection, Array], h: Array) -> Array:
    """Return Wo(norm(silu(z) * (scan(x, B, C, steps) + d x))) of Wi h: [n, H] -> [n, H] (GG-14)."""
    numerics, sizes, block = run.numerics, needed(run.dimensions.recurrent), f"blk.{index}.ssm_"
    z, channels, steps = weights.input.apply(numerics, h)  # [n, I], [n, C], [n, S]
    run.emit(block + "in", channels)
    taken = _convolved(run, index, weights.kernel, weights.kernel_bias, channels)  # [n, C]
    steps = numerics.softplus(steps + weights.step_bias)  # [n, S]
    decay = weights.decay[:, 0]  # [S]
    scanned = _scan(run, index, np.concatenate([taken, steps], axis=1), _state_space_step(run, decay))  # [n, S, M]
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


def _state_space_step(run: Pass, decay: Array) -> Step:
    """state = state * exp(step * a) + B * (x * step); out = sum over N of state * C: states [S, M, N]."""
    numerics, sizes = run.numerics, needed(run.dimensions.recurrent)
    heads, groups, inner, size = sizes.heads, sizes.groups, sizes.inner_size, sizes.state_size
    group = np.arange(heads) // (heads // groups)  # [S]

    def step(state: Array, row: Array) -> tuple[Array, Array]:
        x = row[:inner].reshape(heads, -1)  # [S, M]
        b, c = row[inner : inner + 2 * groups * size].reshape(2, groups, 1, size)[:, group]  # [S, 1, N] each
        length = row[-heads:]  # [S]
        kept = state * numerics.exp(length * decay)[:, None, None]
        state = kept + b * (x * length[:, None])[:, :, None]  # [S, M, N]
        products = np.ascontiguousarray(np.moveaxis(state * c, 2, 0))  # [N, S, M]
        return state, numerics.sum_rows(products.reshape(size, -1)).reshape(x.shape)

    return step


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
    scanned = _scan(run, index, rows, _delta_net_step(run))  # [n, S, M]
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


def _delta_net_step(run: Pass) -> Step:
    """state *= exp(decay); state += k * (v - state k) * beta; out = state q / sqrt(N): states [S, M, N].

    State head s reads key head s mod G.
    """
    numerics, sizes = run.numerics, needed(run.dimensions.recurrent)
    heads, groups, inner, size = sizes.heads, sizes.groups, sizes.inner_size, sizes.state_size
    key = np.arange(heads) % groups  # [S]
    scale = numerics.dtype(1) / np.sqrt(numerics.dtype(size))

    def along(state: Array, vector: Array) -> Array:
        """Return the sums over N of a state [S, M, N] times a vector [S, 1, N]: [S, M]."""
        products = np.ascontiguousarray(np.moveaxis(state * vector, 2, 0))  # [N, S, M]
        return numerics.read_state(products.reshape(size, -1)).reshape(state.shape[:2])

    def step(state: Array, row: Array) -> tuple[Array, Array]:
        q, k = row[: 2 * groups * size].reshape(2, groups, 1, size)[:, key]  # [S, 1, N] each
        v = row[2 * groups * size :][:inner].reshape(heads, -1)  # [S, M]
        decay, beta = row[-2 * heads :].reshape(2, heads)
        state = state * numerics.exp(decay)[:, None, None]
        change = (v - along(state, k)) * beta[:, None]  # [S, M]
        state = state + k * change[:, :, None]
        read = along(state, q * scale) if numerics.scales_queries_of_states else along(state, q) * scale
        return state, read

    return step


def _convolved(run: Pass, index: int, kernel: Array, bias: Array | None, channels: Array) -> Array:
    """Return silu(convolution(channels) + bias), zeros before position 0: [n, C] -> [n, C]."""
    run.cache.store_rows(index, "channels", run.start, channels)
    reach = kernel.shape[1] - 1
    read = run.cache.rows(index, "channels", run.start - reach, run.start + len(channels))  # [L - 1 + n, C]
    convolved = run.numerics.causal_convolution(read, kernel)  # [n, C]
    activated = run.numerics.silu(convolved if bias is None else convolved + bias)
    run.emit(f"blk.{index}.ssm_conv1d", activated)
    return activated


def _scan(run: Pass, index: int, rows: Array, step: Step) -> Array:
    """Take in one row after the other: [n, width] -> [n, S, M]; the state behind the last one is kept."""
    sizes, start = needed(run.dimensions.recurrent), run.start
    run.cache.store_rows(index, "taken", start, rows)
    inner = sizes.inner_size // sizes.heads
    empty = np.zeros((sizes.heads, inner, sizes.state_size), run.numerics.dtype)
    known, state = run.cache.state(index, start, empty)
    for row in run.cache.rows(index, "taken", known, start):  # another caller's state: take in again what was forwarded
        state, _ = step(state, row)
    given = []
    for row in rows:
        state, output = step(state, row)
        given.append(output)
    run.cache.keep_state(index, start + len(rows), state)
    return np.stack(given)
