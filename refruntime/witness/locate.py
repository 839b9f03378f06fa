"""Find where and when the values of an expected array lay in memory, by votes on addresses and lifetimes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.witness.expected import Float32
from refruntime.witness.presence import Presence

if TYPE_CHECKING:
    from refruntime.engines.wasm.pauses import Words
    from refruntime.witness.recording import Int

PROBES: Final = 24
"""So many distinctive elements vote on the address of an array."""

MOST_STAYS: Final = 2048
"""A value that was seen more often than this says nothing about an address."""

MOST_PAIRS: Final = 64
"""The same for pairs of elements, which tell the distance of elements that do not lie side by side."""

CANDIDATES: Final = 6
LEAST_ONE_BY_ONE: Final = 8
"""An array of at least so many elements counts as seen when each was in its place, not necessarily at one moment."""

MOST_STRIDE: Final = 1 << 22

MOST_ANCHORED: Final = 64
"""Places that are tried for a row whose numbers repeat, so that nothing votes."""

LEAST_REPEATED: Final = 16
"""So long a row is evidence as a whole though it holds but two different numbers."""


@dataclass(frozen=True)
class RowPlace:
    """Where one row was: word of its first element, distance of its elements in words, pause at which it was looked at.

    `matched` [n] says which elements were there bit by bit, `evidence` how many different values beside zero they are.
    `until` is the first pause at which one of those that matched was another. `fresh` says that not all of them were
    there before the first pause: what was there is no evidence of anything that happened since.
    """

    word: int
    stride: int
    pause: int
    until: int
    matched: NDArray[np.bool_]
    evidence: int
    fresh: bool = True

    @property
    def words(self) -> Int:
        """Return the words of the elements: [n]."""
        return self.word + self.stride * np.arange(len(self.matched))

    @property
    def complete(self) -> bool:
        """Say whether every element was there, and had not been all the time."""
        return self.fresh and bool(self.matched.all())


def bits(values: Float32) -> Words:
    """Return float32 numbers as the words that hold them."""
    return np.ascontiguousarray(values, np.float32).view(np.uint32)


def find_row(presence: Presence, row: Float32, at_end: bool = False) -> RowPlace | None:
    """Return where most elements of a row [n] were at one moment, None if no two of them agree on a place.

    With `at_end` only what is still there at the last pause counts.
    """
    values = bits(row)
    best = _best([_at(presence, values, base, 1, at_end) for base in _bases(presence, values)])
    if best is not None and best.complete:
        return best
    if len(values) >= LEAST_ONE_BY_ONE:
        best = _best([best, *(_at(presence, values, base, 1, at_end) for base in _anchored(presence, values))])
        if best is not None and best.complete:
            return best
    return _best([best, *(_at(presence, values, base, step, at_end) for base, step in _strided(presence, values))])


def likely_places(presence: Presence, row: Float32) -> list[RowPlace]:
    """Return the places at which most numbers of a row [n] lay side by side, whole or not."""
    values = bits(row)
    found = [_at(presence, values, base, 1, False) for base in _bases(presence, values)]
    return [place for place in found if place is not None]


def common_homes(presence: Presence, rows: Float32) -> list[tuple[int, int]]:
    """Return words at which each of some rows [rows, n] may have begun in its turn, by votes of all their elements."""
    votes: dict[int, set[tuple[int, int]]] = {}
    for index, row in enumerate(rows):
        for element, stays in _distinctive(presence, bits(row)):
            if stays.stop - stays.start <= MOST_PAIRS:
                for base in np.unique(presence.by_value.word[stays] - element).tolist():
                    votes.setdefault(base, set()).add((index, element))
    likely = sorted(votes, key=lambda base: -len(votes[base]))[:CANDIDATES]
    return [(base, 1) for base in likely if len(votes[base]) > 2 and len({row for row, _ in votes[base]}) > 1]


def enough(place: RowPlace | None) -> bool:
    """Say whether what matched is evidence: two different values of a short row or a whole long one, else three."""
    if place is None:
        return False
    size = len(place.matched)
    two = size < 8 or (size >= LEAST_REPEATED and place.complete)
    return place.fresh and place.evidence >= (2 if two else 3)


def at(presence: Presence, row: Float32, word: int, stride: int, at_end: bool = False) -> RowPlace | None:
    """Return how much of a row was at a known place at one moment."""
    return _at(presence, bits(row), word, stride, at_end)


def _best(places: list[RowPlace | None]) -> RowPlace | None:
    found = [place for place in places if place is not None]
    return max(found, key=lambda place: (place.complete, place.evidence, place.fresh, -place.pause), default=None)


def _distinctive(presence: Presence, values: Words) -> list[tuple[int, slice]]:
    """Return elements that can vote, with their stays: not zero, once in the row, the seldomest in the log."""
    unique, places, counts = np.unique(values, return_index=True, return_counts=True)
    once = (counts == 1) & ((unique << np.uint32(1)) != 0)
    first, last = presence.of_values(unique[once])
    stays = last - first
    order = np.argsort(stays, kind="stable")
    order = order[(stays[order] > 0) & (stays[order] <= MOST_STAYS)][:PROBES]
    return [(int(places[once][at]), slice(int(first[at]), int(last[at]))) for at in order]


def _bases(presence: Presence, values: Words) -> list[int]:
    """Return the words at which a contiguous row most likely began."""
    votes, fresh = [], []
    for index, stays in _distinctive(presence, values):
        words = presence.by_value.word[stays] - index
        votes.append(np.unique(words))
        fresh.append(np.unique(words[presence.by_value.begin[stays] >= 0]))
    if not votes:
        return []
    bases, counts = np.unique(np.concatenate(votes), return_counts=True)
    written, times = np.unique(np.concatenate(fresh), return_counts=True)
    score = 2 * counts  # of equal votes those count that were cast by what was written in the meantime
    score[np.searchsorted(bases, written)] += times
    order = np.argsort(-score, kind="stable")[:CANDIDATES]
    return [int(base) for base, count in zip(bases[order], counts[order], strict=True) if count > 1]


def _anchored(presence: Presence, values: Words) -> list[int]:
    """Return the words at which a row whose numbers repeat may have begun: where the first of each value was."""
    unique, places = np.unique(values, return_index=True)
    usable = (unique << np.uint32(1)) != 0
    first, last = presence.of_values(unique[usable])
    stays = last - first
    if len(stays) < 2 or len(stays) > len(values) // 2 or not stays.all():
        return []
    bases: Int | None = None
    for value in np.argsort(stays, kind="stable").tolist():
        where = presence.by_value.word[int(first[value]) : int(last[value])] - int(places[usable][value])
        bases = np.unique(where) if bases is None else np.intersect1d(bases, where)
    return [int(base) for base in bases[:MOST_ANCHORED]] if bases is not None else []


def _strided(presence: Presence, values: Words) -> list[tuple[int, int]]:
    """Return places of a row whose elements do not lie side by side, on which most pairs of elements agree."""
    probes = [probe for probe in _distinctive(presence, values) if probe[1].stop - probe[1].start <= MOST_PAIRS][:8]
    votes: dict[tuple[int, int], int] = {}
    for (i, first), (j, second) in pairwise(probes):
        gap = presence.by_value.word[second][None, :] - presence.by_value.word[first][:, None]
        step, rest = np.divmod(gap, j - i)
        fits = (rest == 0) & (np.abs(step) > 1) & (np.abs(step) < MOST_STRIDE)
        for row, column in np.argwhere(fits).tolist():
            place = int(presence.by_value.word[first][row] - i * step[row, column]), int(step[row, column])
            votes[place] = votes.get(place, 0) + 1
    likely = sorted(votes, key=lambda place: -votes[place])[:CANDIDATES]
    return [place for place in likely if votes[place] > 1]


def _at(presence: Presence, values: Words, base: int, stride: int, at_end: bool) -> RowPlace | None:
    """Return the first moment at which most elements were where an address puts them."""
    words = base + stride * np.arange(len(values))
    if words.min() < 0 or words.max() >= len(presence.log.first):  # a part of it was not watched
        return None
    first, last = presence.of_values_at(values, words)
    counts = last - first
    if not counts.any():
        return None
    element = np.repeat(np.arange(len(values)), counts)
    stay = np.arange(len(element)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    begin, end = presence.by_value.begin[stay], presence.by_value.end[stay]
    if at_end:
        lasting = end == presence.pauses
        element, begin, end = element[lasting], begin[lasting], end[lasting]
        if not len(element):
            return None
    change = np.zeros(presence.pauses + 2, np.int64)
    np.add.at(change, begin + 1, 1)  # shifted by one, so that what was there before has a place
    np.add.at(change, end + 1, -1)
    pause = int(np.argmax(np.cumsum(change))) - 1
    fresh_elements = np.unique(element[begin >= 0])
    if not at_end and len(fresh_elements) == len(values) >= LEAST_ONE_BY_ONE:
        # All were written here, though the first ones were gone when the last ones came.
        everything = np.ones(len(values), np.bool_)
        different = np.unique(values[(values << np.uint32(1)) != 0])
        return RowPlace(base, stride, pause, int(end.max()), everything, len(different))
    there = (begin <= pause) & (pause < end)
    matched = np.zeros(len(values), np.bool_)
    matched[element[there]] = True
    different = np.unique(values[matched & ((values << np.uint32(1)) != 0)])
    fresh = bool((begin[there] >= 0).any())
    return RowPlace(base, stride, pause, int(end[there].min()), matched, len(different), fresh)
