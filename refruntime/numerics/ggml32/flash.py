"""Attention as ggml's flash attention computes it for a single chunk: one pass over time with a running maximum.

Source: `ggml_compute_forward_flash_attn_ext_f16_one_chunk` of ggml's `ggml-cpu/ops.cpp`, which serves single tokens on
one thread. Prompts go through tiles of another order, longer contexts on several threads through partial results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.ggml32.activations import as_half

Float32 = NDArray[np.float32]
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
    if sinks is not None:
        sink = sinks[:, None]
        higher = sink > maximum
        rescale = np.where(higher, exp(maximum - sink), np.float32(1))
        mixed = np.where(higher[..., None], mixed * rescale[..., None], mixed)
        total = total * rescale + np.where(higher, np.float32(1), exp(sink - maximum))
    inverse = np.where(total == 0, np.float32(0), np.float32(1) / total)
    result: Float32 = (mixed * inverse[..., None]).transpose(1, 0, 2)
    return result
