"""Find an array whose numbers are all in memory side by side, but in another order."""

from __future__ import annotations

from typing import Final

import numpy as np

from refruntime.witness.expected import Float32
from refruntime.witness.images import Image
from refruntime.witness.locate import bits
from refruntime.witness.presence import Presence

PROBES: Final = 48
MOST_STAYS: Final = 2048
LEAST_PART: Final = 0.9
MOST_BASES: Final = 64


def find_permuted(presence: Presence, expected: Float32, after: int) -> Image | None:
    """Return where the numbers of an array [rows, n] were at one moment after a pause in any order; None if nowhere."""
    values = bits(expected).reshape(-1)
    size, words = len(values), len(presence.log.first)
    candidates = np.unique(values[(values << np.uint32(1)) != 0])
    if len(candidates) < 4 or size > words:
        return None
    first, last = presence.of_values(candidates)
    order = np.argsort(last - first, kind="stable")
    order = order[(last > first)[order] & (last - first <= MOST_STAYS)[order]][:PROBES]
    slices = [slice(int(first[at]), int(last[at])) for at in order]
    if len(slices) < 4:
        return None
    cover = np.zeros(words + 1, np.int64)
    for stays in slices:
        places = np.unique(presence.by_value.word[stays])
        marks = np.zeros(words + 1, np.int64)
        np.add.at(marks, np.maximum(places - size + 1, 0), 1)
        np.add.at(marks, np.minimum(places + 1, words), -1)
        cover += np.cumsum(marks) > 0
    best = int(cover[: words - size + 1].max())
    if best < LEAST_PART * len(slices):
        return None
    bases = np.flatnonzero(cover[: words - size + 1] == best)[:MOST_BASES]
    closest, image = LEAST_PART * size, None
    for base in bases.tolist():
        for pause in _moments(presence, slices, base, size, after):
            place = base + np.arange(size)
            held = presence.value_at(place, pause)
            common = int(np.isin(held, values).sum())
            if common >= closest and len(np.intersect1d(held, candidates)) >= LEAST_PART * len(candidates):
                closest = common + 1
                found = held.view(np.float32).reshape(expected.shape)
                image = Image(found, place.reshape(expected.shape), (pause,), 0.0, 1.0)
    return image


def _moments(presence: Presence, slices: list[slice], base: int, size: int, after: int) -> list[int]:
    """Return the first, a middle and the last pause at which most of some values are in `size` words from `base` on.

    At the first of them what has no vote may not be written yet, at the last it may be written over.
    """
    change = np.zeros(presence.pauses + 2, np.int64)
    stays = presence.by_value
    for part in slices:
        word, begin, end = stays.word[part], np.maximum(stays.begin[part], after), stays.end[part]
        inside = (word >= base) & (word < base + size) & (end > begin)
        np.add.at(change, begin[inside] + 1, 1)
        np.add.at(change, end[inside] + 1, -1)
    count = np.cumsum(change)
    if count.max() < LEAST_PART * len(slices):
        return []
    most = np.flatnonzero(count == count.max()) - 1
    return list(dict.fromkeys([int(most[0]), int(most[len(most) // 2]), int(most[-1])]))
