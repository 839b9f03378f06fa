"""Say which keys or values attention met instead of its own: those of another head, or of another position.

Scores and mixed values are then right in themselves, and what was read for them is not: the head of a group (GG-8) or
the place in the cache (FW-9) is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from refruntime.model.forward import Transformer
from refruntime.witness.expected import Float32, of_position
from refruntime.witness.locate import enough, find_row
from refruntime.witness.presence import Presence

OTHER_HEADS: Final = "other heads"
OTHER_POSITIONS: Final = "other positions"
"""Patterns of scores and mixed values."""

QUERIES: Final = (".attn_q.rope", ".attn_q_norm", ".attn_q")
"""Forms of the query; the first that a model has is the last that was made."""

SHIFTS: Final = {1: "one position before", -1: "one position behind"}
TOLERANCE: Final = 1e-5
"""Of the largest number: another order of additions is no other head."""


def other_operands(transformer: Transformer, ids: Sequence[int], position: int) -> dict[str, Float32]:
    """Return scores and mixed values that other keys and values give, by pattern and tensor.

    With other heads they are [A, K, T] and [A, K, D], with other positions [A, S, T] and [A, S, D] for S shifts.
    """
    cache = transformer.new_cache()
    transformer.forward(list(ids[: position + 1]), cache)
    there = {item.name: item.values for item in of_position(transformer, ids, position)}
    found: dict[str, Float32] = {}
    for name, scores in there.items():
        block, _, kind = name.rpartition(".attn.")
        query = next((there[block + q] for q in QUERIES if block + q in there), None)
        if kind != "scores" or query is None or block + ".attn.weights" not in there:
            continue
        keys, values = cache.visible(int(block.removeprefix("blk.")), position + 1)  # [D, K, T], [T, K, D]
        heads, kv_heads, size = len(scores), keys.shape[1], keys.shape[0]
        if query.size != heads * size or values.shape[2] != size or heads % kv_heads:
            continue
        own = np.arange(heads) // (heads // kv_heads)  # [A]
        q = query.reshape(heads, size) / np.sqrt(np.float32(size))  # [A, D]
        weights = there[block + ".attn.weights"]  # [A, T]
        if kv_heads > 1:
            of_heads = _of_heads(transformer, query.reshape(1, heads, size), keys, values, position)
            found[f"{OTHER_HEADS} {block}.attn.scores"], found[f"{OTHER_HEADS} {block}.attn.mixed"] = of_heads
        keys_at = np.stack([_shifted(keys[:, own], shift, 2) for shift in SHIFTS])  # [S, D, A, T]
        values_at = np.stack([_shifted(values[:, own], shift, 0) for shift in SHIFTS])  # [S, T, A, D]
        found[f"{OTHER_POSITIONS} {block}.attn.scores"] = np.einsum("ad,sdat->ast", q, keys_at)
        found[f"{OTHER_POSITIONS} {block}.attn.mixed"] = np.einsum("at,stad->asd", weights, values_at)
    return found


def _of_heads(
    transformer: Transformer, query: Float32, keys: Float32, values: Float32, position: int
) -> tuple[Float32, Float32]:
    """Return scores [A, K, T] and mixed values [A, K, D] of every query head with every key and value head.

    They have the bits that a build has which takes another head: query [1, A, D], keys [D, K, T], values [T, K, D].
    """
    heads, kv_heads = query.shape[1], keys.shape[1]
    rows, own = np.arange(heads), np.arange(heads) // (heads // kv_heads)  # [A]
    scores = np.zeros((heads, kv_heads, keys.shape[2]), np.float32)
    mixed = np.zeros((heads, kv_heads, keys.shape[0]), np.float32)
    for shift in range(kv_heads):
        turned = (np.arange(kv_heads) + shift) % kv_heads  # [K]
        attend = transformer.numerics.attention
        scores[rows, turned[own]] = attend(query, keys[:, turned], values, position).scores[:, 0]
        mixed[rows, turned[own]] = attend(query, keys, values[:, turned], position).mixed[0]
    return scores, mixed


def in_memory(presence: Presence, expected: Float32, known: Mapping[str, Float32], name: str) -> tuple[str, str] | None:
    """Return the pattern and what was met, where the numbers that one head gives were in memory for each.

    So they are told wherever they lay; None where some head has none, or several, or all have their own.
    """
    of_heads = known.get(f"{OTHER_HEADS} {name}")
    if of_heads is None:
        return None
    right = [_head(of_heads[row], expected[row]) for row in range(len(expected))]
    read = [_found_head(presence, rows) for rows in of_heads]
    return None if None in right or None in read or read == right else _told_heads(read, right, name)


def _found_head(presence: Presence, rows: Float32) -> int | None:
    """Return which of some rows [K, n] was in memory; None if none was, or several."""
    places = [find_row(presence, row) for row in rows]
    found = [k for k, place in enumerate(places) if place is not None and place.complete and enough(place)]
    return found[0] if len(found) == 1 else None


def by_operands(found: Float32, expected: Float32, known: Mapping[str, Float32], name: str) -> tuple[str, str] | None:
    """Return the pattern and what was met, where other heads or positions make the found numbers; None if none do."""
    of_heads, moved = (known.get(f"{kind} {name}") for kind in (OTHER_HEADS, OTHER_POSITIONS))
    if moved is not None:
        what = _what(name)
        for index, text in enumerate(SHIFTS.values()):
            if moved[:, index].shape == found.shape and _all_written(found, moved[:, index]):
                return OTHER_POSITIONS, f"are made of the {what} {text} instead of those of each position"
    if of_heads is None or of_heads[:, 0].shape != found.shape:
        return None
    right = [_head(of_heads[row], expected[row]) for row in range(len(found))]
    read = [_head(of_heads[row], found[row]) for row in range(len(found))]
    return None if None in read or None in right or read == right else _told_heads(read, right, name)


def _told_heads(read: Sequence[int | None], right: Sequence[int | None], name: str) -> tuple[str, str]:
    listed = ", ".join(f"{other} instead of {own}" for other, own in zip(read, right, strict=True) if other != own)
    return OTHER_HEADS, f"are made of the {_what(name)} of other heads: {listed}"


def _what(name: str) -> str:
    return "keys" if name.endswith("scores") else "values"


def _shifted(values: Any, shift: int, axis: int) -> Any:
    """Return an array moved along an axis, with zeros where nothing comes from."""
    moved = np.zeros_like(values)
    into, out = [slice(None)] * values.ndim, [slice(None)] * values.ndim
    into[axis], out[axis] = (slice(1, None), slice(None, -1)) if shift > 0 else (slice(None, -1), slice(1, None))
    moved[tuple(into)] = values[tuple(out)]
    return moved


def _all_written(found: Float32, made: Float32) -> bool:
    """Say whether all heads are those that were made, but for some that are still to be written."""
    right = [_same(row, other) for row, other in zip(found, made, strict=True)]
    open_rows = [not row.any() for row in found]
    return any(right) and all(a or b for a, b in zip(right, open_rows, strict=True)) and sum(open_rows) <= sum(right)


def _head(rows: Float32, row: Float32) -> int | None:
    """Return which row one is, None if it is none or several."""
    same = [index for index, other in enumerate(rows) if _same(row, other)]
    return same[0] if len(same) == 1 else None


def _same(found: Float32, made: Float32) -> bool:
    size = float(np.abs(made).max(initial=0))
    return bool(size) and bool(np.allclose(found, made, rtol=0, atol=TOLERANCE * size))
