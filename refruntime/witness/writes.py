"""Runs of words that were written one after the other: what an array looks like whose values are not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from refruntime.witness.recording import Int, Log

NEAR: Final = 3
"""A run goes on over so many words that did not change: an equal rewrite leaves no trace."""

CHURN: Final = 0.02
"""Words that change at more than this part of all pauses, and often, are no place of a tensor."""

MOST_CHANGES: Final = 400


@dataclass(frozen=True)
class Runs:
    """Contiguous words `first` .. `last`, written in ascending order between pauses `begin` and `end`, all [n]."""

    first: Int
    last: Int
    begin: Int
    end: Int


def busy_words(log: Log) -> Int:
    """Return the words that change too often to hold a tensor, such as a row that is decoded again and again."""
    counts = np.bincount(log.word, minlength=len(log.first))
    return np.flatnonzero(counts > max(MOST_CHANGES, CHURN * len(log.fuel)))


def runs(log: Log, begin: int, end: int) -> Runs:
    """Return the runs that were completed after pause `begin` and until pause `end`."""
    inside = slice(*np.searchsorted(log.pause, [begin + 1, end + 1]).tolist())
    quiet = ~np.isin(log.word[inside], busy_words(log))
    pause, word = log.pause[inside][quiet], log.word[inside][quiet]
    order = np.lexsort((word, pause))
    pause, word = pause[order], word[order]
    if not len(word):
        none = np.zeros(0, np.int64)
        return Runs(none, none, none, none)
    breaks = np.flatnonzero((np.diff(word) > NEAR) | (np.diff(word) < 1) | (np.diff(pause) > 0)) + 1
    starts, stops = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(word)]])
    open_runs: dict[int, list[int]] = {}  # by last word
    closed: list[list[int]] = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        first, last, now = int(word[start]), int(word[stop - 1]), int(pause[start])
        previous = next((open_runs.pop(at) for at in range(first - 1, first - 1 - NEAR, -1) if at in open_runs), None)
        if previous is None:
            previous = [first, last, now, now]
        previous[1], previous[3] = last, now
        if last in open_runs:
            closed.append(open_runs[last])
        open_runs[last] = previous
    closed += open_runs.values()
    table = np.array(sorted(closed, key=lambda run: (run[3], run[0])), np.int64).reshape(-1, 4)
    return Runs(*table.T)
