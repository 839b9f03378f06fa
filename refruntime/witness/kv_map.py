"""Compare the key and value cache of all layers and positions where it lies, after one run.

Letters: L layers that attend, P positions, K key/value heads, D head_dim. A unit is one head of one position of one
layer: D numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.wasm.pauses import Words
from refruntime.model.kv_cache import KVCache
from refruntime.witness.expected import Float32
from refruntime.witness.locate import bits
from refruntime.witness.recording import Int

PROBES: Final = 3
HASH_BITS: Final = 22


@dataclass(frozen=True)
class CacheMap:
    """Where keys or values lie, and which are equal: `word` [L, P, K] of the first number of each unit, -1 unknown.

    `stride` is the distance of its numbers in words; `equal` [L, P, K] compares all D of them bit by bit.
    """

    word: Int
    stride: int
    equal: NDArray[np.bool_]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Return which units have a place: [L, P, K]."""
        return self.word >= 0

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Return which layers and positions hold other numbers than they should: [L, P]."""
        return np.asarray((self.known & ~self.equal).any(axis=2))


def cached(cache: KVCache, positions: int) -> tuple[Float32, Float32]:
    """Return keys and values of the oracle: [L, P, K, D] each."""
    keys = cache.keys[..., :positions].transpose(0, 3, 2, 1)
    return np.ascontiguousarray(keys), np.ascontiguousarray(cache.values[:, :positions])


def find_cache(memory: Words, expected: Float32, like: CacheMap | None = None) -> CacheMap | None:
    """Find units [L, P, K, D] in memory, learn from those that agree where all of them lie; None if too few agree.

    Steps that cannot be learnt are taken from `like`, the other half of the cache.
    """
    layers, positions, heads, size = expected.shape
    units = bits(expected).reshape(-1, size)
    stride, found = _found_units(memory, units)
    word = found.reshape(layers, positions, heads)
    if int((word >= 0).sum()) < (2 if like is None else 1):
        return None
    places = _layout(word, None if like is None else like.word)
    if positions > 1 and (places[:, 1:] == places[:, :-1]).any():
        return None
    inside = (places >= 0) & (places + stride * (size - 1) < len(memory))
    safe = np.where(inside, places, 0)
    held = memory[safe[..., None] + stride * np.arange(size)]  # [L, P, K, D]
    equal = inside & (held == bits(expected)).all(axis=-1)
    return CacheMap(np.where(inside, places, -1), stride, equal)


def _found_units(memory: Words, units: Words) -> tuple[int, Int]:
    """Return the stride of the numbers of a unit, and the word of each unit that is in memory as a whole, else -1."""
    size = units.shape[1]
    elements = np.unique(np.linspace(0, size - 1, min(PROBES + 1, size)).astype(np.int64))
    probes = units[:, elements]  # [units, probes]
    table = np.zeros(1 << HASH_BITS, np.bool_)
    table[_hashed(probes.reshape(-1))] = True
    hits = np.flatnonzero(table[_hashed(memory)])
    hits = hits[memory[hits] != 0]
    order = np.argsort(memory[hits], kind="stable")
    hits, values = hits[order], memory[hits][order]
    first = np.searchsorted(values, probes)
    last = np.searchsorted(values, probes, side="right")
    stride = _stride(hits, first, last, elements)
    found = np.full(len(units), -1, np.int64)
    candidates: list[list[int]] = []
    for unit in range(len(units)):
        votes: dict[int, int] = {}
        for place, element in enumerate(elements.tolist()):
            if last[unit, place] - first[unit, place] > 64:
                continue
            for word in hits[first[unit, place] : last[unit, place]].tolist():
                base = word - stride * element
                votes[base] = votes.get(base, 0) + 1
        whole = [
            base
            for base, count in votes.items()
            if count > 1
            and 0 <= base <= len(memory) - stride * (size - 1) - 1
            and np.array_equal(memory[base + stride * np.arange(size)], units[unit])
        ]
        candidates.append(sorted(whole))
    taken: dict[int, int] = {}
    for bases in candidates:
        for base in bases:
            taken[base] = taken.get(base, 0) + 1
    for unit, bases in enumerate(candidates):
        own = [base for base in bases if taken[base] == 1] or bases
        if own:
            found[unit] = own[-1] if len(own) == 1 else own[0]
    return stride, found


def _hashed(words: Words) -> NDArray[np.uint32]:
    return (words * np.uint32(2654435761)) >> np.uint32(32 - HASH_BITS)


def _stride(hits: Int, first: Int, last: Int, elements: Int) -> int:
    """Return the distance in words on which most pairs of probes of one unit agree; 1 if none."""
    votes: dict[int, int] = {}
    step = int(elements[1] - elements[0]) if len(elements) > 1 else 1
    for unit in range(min(len(first), 512)):
        one, other = slice(first[unit, 0], last[unit, 0]), slice(first[unit, 1], last[unit, 1])
        if one.stop - one.start > 16 or other.stop - other.start > 16:
            continue
        for gap in (hits[other][None, :] - hits[one][:, None]).reshape(-1).tolist():
            if gap and gap % step == 0:
                votes[gap // step] = votes.get(gap // step, 0) + 1
    best = max(votes, key=lambda stride: (votes[stride], -abs(stride)), default=1)
    return best if votes.get(best, 0) > 1 else 1


def _layout(word: Int, like: Int | None) -> Int:
    """Return where all units should be, learnt from those that were found: one base a layer, a step a position, a head.

    A layer without any unit that was found gets its base from the distance of the other layers.
    """
    layers, positions, heads = word.shape
    step, across = (_steps(word, axis) or (0 if like is None else _steps(like, axis)) for axis in (1, 2))
    offset = step * np.arange(positions)[:, None] + across * np.arange(heads)  # [P, K]
    bases = np.full(layers, -1, np.int64)
    for layer in range(layers):
        known = word[layer] >= 0
        if known.any():
            bases[layer] = _common((word[layer] - offset)[None], known[None])
    known = bases >= 0
    if known.sum() > 1 and not known.all():
        where = np.flatnonzero(known)
        gaps = np.diff(bases[where]) // np.diff(where)
        if (gaps == gaps[0]).all():
            bases = np.where(known, bases, bases[where[0]] + gaps[0] * (np.arange(layers) - where[0]))
    places = bases[:, None, None] + offset
    return np.where(bases[:, None, None] >= 0, places, -1)


def _steps(word: Int, axis: int) -> int:
    """Return the distance of neighbours along an axis on which most agree, 0 if no two neighbours are known."""
    size = word.shape[axis]
    one, other = word.take(np.arange(size - 1), axis), word.take(np.arange(1, size), axis)
    return _common(other - one, (one >= 0) & (other >= 0))


def _common(values: Int, usable: NDArray[np.bool_]) -> int:
    """Return the most frequent of the usable values, 0 for none."""
    chosen = values[usable]
    if not len(chosen):
        return 0
    unique, counts = np.unique(chosen, return_counts=True)
    return int(unique[np.argmax(counts)])
