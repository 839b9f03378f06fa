"""Attention as ggml's flash attention computes it: one pass over time with a running maximum.

Source: `ggml_compute_forward_flash_attn_ext_f16_one_chunk` of ggml's `ggml-cpu/ops.cpp`, which serves up to 63 tokens
at once, and `.._tiled`, which serves 64 and more. From 512 cells on each thread takes a part of the cells of a single
token, and `ggml_flash_attn_ext_reduce_partials` puts these together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.ggml32.activations import as_half

Float32 = NDArray[np.float32]

TILE: Final = 64
"""Cells of a tile."""
CELLS: Final = 256
"""llama.cpp attends to whole lots of so many cells, of which those that are not seen are skipped."""
SPLIT: Final = 512
"""Cells from which threads share a single token."""

Unary = Callable[[Any], Float32]


def _as_single(x: Any) -> Float32:
    return np.asarray(x, np.float32)


class Partial(NamedTuple):
    """What some cells gave so far: `mixed` [A, n, D], not yet divided by `total` [A, n], and `maximum` [A, n]."""

    mixed: Float32
    total: Float32
    maximum: Float32


@np.errstate(all="ignore")
def flash_mix(
    scores: Float32, values: Float32, exp: Unary, halves: bool, sinks: Float32 | None, threads: int = 1
) -> Float32:
    """Mix values by scores: scores [A, n, T], -inf where unseen, values [T, K, D] -> [n, A, D].

    With `halves` the running mixture is rounded to half precision after every operation. A sink of a head comes last.
    The last row belongs to position T - 1; with several threads every row is that of a single token.
    """
    n, visible = scores.shape[1:]
    mixed = []
    for begin, end, cells in _lots(visible - n, n):
        size = cells if cells < SPLIT else -(-cells // threads)
        parts, sight = [], visible - n + end
        for start in range(0, sight, size):
            seen = slice(start, min(start + size, sight))
            part = _pass(scores[:, begin:end, seen], values[seen], exp, halves)
            parts.append(part if start else _with_sinks(part, exp, sinks))
        mixed.append(_divided(_joined(parts, exp)))
    return np.concatenate(mixed)


def _lots(position: int, n: int) -> Iterator[tuple[int, int, int]]:
    """Yield runs of rows from `position` on whose cells are as many: begin, end, cells."""
    begin = 0
    while begin < n:
        cells = -(-(position + begin + 1) // CELLS) * CELLS
        end = min(n, cells - position)
        yield begin, end, cells
        begin = end


def _pass(scores: Float32, values: Float32, exp: Unary, halves: bool) -> Partial:
    """Go over cells one after the other."""
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
    return Partial(mixed, total, maximum)


def _joined(parts: Sequence[Partial], exp: Unary) -> Partial:
    """Put together what parts of the cells gave, in their order; those that saw nothing are left out."""
    first, *others = parts
    mixed, total, maximum = first
    for part in others:
        highest = np.maximum(maximum, part.maximum)
        old, new = exp(maximum - highest), exp(part.maximum - highest)
        seen = part.total != 0
        both = mixed * old[..., None] + part.mixed * new[..., None]
        mixed = np.where(seen[..., None], both, mixed)
        total = np.where(seen, total * old + part.total * new, total)
        maximum = np.where(seen, highest, maximum)
    return Partial(mixed, total, maximum)


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
    return _divided(_with_sinks(Partial(mixed, total, maximum), exp, sinks))


def _with_sinks(part: Partial, exp: Unary, sinks: Float32 | None) -> Partial:
    """Count the sinks [A]."""
    if sinks is None:
        return part
    mixed, total, maximum = part
    sink = sinks[:, None]
    higher = sink > maximum
    rescale = np.where(higher, exp(maximum - sink), np.float32(1))
    mixed = np.where(higher[..., None], mixed * rescale[..., None], mixed)
    total = total * rescale + np.where(higher, np.float32(1), exp(sink - maximum))
    return Partial(mixed, total, np.maximum(maximum, sink))


def _divided(part: Partial) -> Float32:
    """Divide what is mixed by the total: -> [n, A, D]."""
    inverse = np.where(part.total == 0, np.float32(0), np.float32(1) / part.total)
    result: Float32 = (part.mixed * inverse[..., None]).transpose(1, 0, 2)
    return result
