"""Answer where and when a word held a value, from what was recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from refruntime.engines.wasm.pauses import Words
    from refruntime.witness.recording import Int, Log


@dataclass(frozen=True)
class Stays:
    """Stays of values in words: word number, first pause and the pause from which on it is another; -1 is before."""

    word: Int
    value: Words
    begin: Int
    end: Int


class Presence:
    """An index of a log by value and by word."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.pauses = len(log.fuel)
        count = len(log.first)
        word = np.concatenate([np.arange(count), log.word])
        value = np.concatenate([log.first, log.value])
        begin = np.concatenate([np.full(count, -1), log.pause])
        order = np.lexsort((begin, word))
        word, value, begin = word[order], value[order], begin[order]
        end = np.empty_like(begin)
        end[:-1] = np.where(word[1:] == word[:-1], begin[1:], self.pauses)
        end[-1:] = self.pauses
        self.by_word = Stays(word, value, begin, end)
        self._first_of_word = np.searchsorted(word, np.arange(count + 1))
        key = (value.astype(np.int64) << 32) | word
        order = np.argsort(key, kind="stable")  # of equal keys the earlier stay first
        self.key = key[order]
        self.by_value = Stays(word[order], value[order], begin[order], end[order])

    def of_values(self, values: Words) -> tuple[Int, Int]:
        """Return for each value the range of its stays in `by_value`: first and last, equal for none."""
        keys = values.astype(np.int64) << 32
        return np.searchsorted(self.key, keys), np.searchsorted(self.key, keys + (1 << 32))

    def of_values_at(self, values: Words, words: Int) -> tuple[Int, Int]:
        """Return the range in `by_value` of the stays of values[i] in words[i]: first and last, equal for none."""
        wanted = (values.astype(np.int64) << 32) | words
        found = np.searchsorted(self.key, wanted), np.searchsorted(self.key, wanted + 1)
        outside = (words < 0) | (words >= len(self.log.first))
        return np.where(outside, 0, found[0]), np.where(outside, 0, found[1])

    def value_at(self, words: Int, pause: int) -> Words:
        """Return what words held at a pause: [n] -> [n]."""
        return self.by_word.value[self._stays_at(words, pause)]

    def begins_at(self, words: Int, pause: int) -> Int:
        """Return since which pause words held what they held at a pause, -1 for before the first: [n] -> [n]."""
        return self.by_word.begin[self._stays_at(words, pause)]

    def _stays_at(self, words: Int, pause: int) -> Int:
        result = np.zeros(len(words), np.int64)
        for place, word in enumerate(words.tolist()):
            first, last = self._first_of_word[word], self._first_of_word[word + 1]
            result[place] = first + np.searchsorted(self.by_word.begin[first:last], pause, side="right") - 1
        return result

    def changes_of(self, words: Int) -> NDArray[np.int64]:
        """Return the pauses at which any of some words changed, sorted."""
        parts = [self.by_word.begin[self._first_of_word[w] : self._first_of_word[w + 1]] for w in words.tolist()]
        begins = np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
        return begins[begins >= 0]
