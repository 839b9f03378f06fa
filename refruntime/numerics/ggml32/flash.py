"""Attention as ggml's flash attention computes it for a single chunk: one pass over time with a running maximum.

Source: `ggml_compute_forward_flash_attn_ext_f16_one_chunk` of ggml's `ggml-cpu/ops.cpp`, which serves up to 63 tokens
at once, and `.._tiled`, which serves 64 and more. Single tokens behind 512 cells go through partial results, one for
each thread, which are not repeated here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.ggml32.activations import as_half

Float32 = NDArray[np.float32]

TILE: Final = 64
"""Cells of a tile."""

Unary = Callable[[Any], Float32]


def _as_single(x: Any) -> Float32:
    return np.asarray(x, np.float32)


@np.errstate(all="ignore")
def flash_mix(scores: Float32, values: Float32, exp: Unary, halves: bool, sinks: Float32 | None) -> Float32:
    """Mix values by scores: scores [A, n, T], -inf where unseen, values [T, K, D] -> [n, A, D].

    With `halves` the running mixture is rounded to half precision after every operation. A sink of a head comes last.
    """
    heads, n, visible = scores.shape
    kv_heads, head_dim = values.shape[1:]
    group = heads // kv_heads
    rounded: Unary = as_half if halves else _as_single
    mixed = np.zeros((heads, n, head_dim), np.float32)
    total = np.zeros((heads, n), np.float32)
    maximum = np.full((heads, n), -np.inf, np.float32)
    for t in range(visible):
        score = scores[:, :, t]
        seen, higher = score > -np.inf, score > maximum
        rescale = np.where(higher, exp(maximum - score), np.float32(1))
        share = np.where(higher, np.float32(1), exp(score - maximum))
        value = np.repeat(values[t], group, axis=0)[:, None]  # [A, 1, D]
        scaled = np.where(higher[..., None], rounded(mixed * rescale[..., None]), mixed)
        mixed = np.where(seen[..., None], rounded(scaled + value * share[..., None]), mixed)
        total = np.where(seen, total * rescale + share, total)
        maximum = np.where(higher, score, maximum)
    return _finished(mixed, total, maximum, exp, sinks)


@np.errstate(all="ignore")
def flash_tiles(scores: Float32, values: Float32, exp: Unary, sinks: Float32 | None) -> Float32:
    """Mix values by scores, a tile of cells at a time: scores [A, n, T], -inf where unseen, values [T, K, D].

    Returns [n, A, D]. Everything is float32 but the sum of the shares of a tile, which runs in float64.
    """
    heads, n, visible = scores.shape
    kv_heads, head_dim = values.shape[1:]
    mixed = np.zeros((heads, n, head_dim), np.float32)
    total = np.zeros((heads, n), np.float32)
    maximum = np.full((heads, n), -np.inf, np.float32)
    for start in range(0, visible, TILE):
        part = scores[:, :, start : start + TILE]
        before, maximum = maximum, np.maximum(maximum, part.max(axis=2))
        higher = maximum > before
        rescale = exp(before - maximum)
        mixed = np.where(higher[..., None], mixed * rescale[..., None], mixed)
        total = np.where(higher, total * rescale, total)
        shares = np.where(part > -np.inf, exp(part - maximum[..., None]), np.float32(0))  # [A, n, t]
        sums = np.add.accumulate(shares.astype(np.float64), axis=2)[..., -1]
        total = (total.astype(np.float64) + sums).astype(np.float32)
        for t in range(part.shape[2]):
            value = np.repeat(values[start + t], heads // kv_heads, axis=0)[:, None]  # [A, 1, D]
            mixed = mixed + shares[:, :, t, None] * value
    return _finished(mixed, total, maximum, exp, sinks)


def _finished(mixed: Float32, total: Float32, maximum: Float32, exp: Unary, sinks: Float32 | None) -> Float32:
    """Count the sinks [A], and divide what is mixed [A, n, D] by the total [A, n]: -> [n, A, D]."""
    if sinks is not None:
        sink = sinks[:, None]
        higher = sink > maximum
        rescale = np.where(higher, exp(maximum - sink), np.float32(1))
        mixed = np.where(higher[..., None], mixed * rescale[..., None], mixed)
        total = total * rescale + np.where(higher, np.float32(1), exp(sink - maximum))
    inverse = np.where(total == 0, np.float32(0), np.float32(1) / total)
    result: Float32 = (mixed * inverse[..., None]).transpose(1, 0, 2)
    return result
