"""Write down what one call of a build does to its memory: first which pages change, then which words, when, to what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.wasm.pauses import (
    MOST_FUEL,
    NEVER,
    Enough,
    OnPause,
    PausableInstance,
    PausableModule,
    Words,
    run_with_pauses,
)

PAGE_WORDS: Final = 1024
"""4 KiB in words of 32 bits."""

NEAR_PAGES: Final = 2
"""Changed pages with at most so many others between them are watched as one range."""

MOST_CHANGES: Final = 512
OFTEN: Final = 16
UNKNOWN: Final = np.uint32(0x7FC0DEAD)
"""Stands for what a word holds once it changed so often, and at every 16th pause: a row that is decoded, no tensor."""

NO_MORE: Final = 1 << 40
"""Changes of such a word are counted from here on, and logged no more."""

Int = NDArray[np.int64]


@dataclass(frozen=True)
class WatchedCall:
    """One call that can be repeated: `perform` makes it, and all that comes before it, on a fresh instance.

    The call that is watched is number `occurrence`, counted from 0, of `export`.
    """

    module: PausableModule
    perform: Callable[[PausableInstance], Any]
    export: str
    occurrence: int = 0

    def run(self, interval: int = NEVER, on_pause: OnPause = lambda _fuel, _words: None) -> PausableInstance:
        """Perform, stopping at every `interval` units of fuel."""
        return run_with_pauses(self.module, self.perform, self.export, self.occurrence, interval, on_pause)


class Window(NamedTuple):
    """A stretch of fuel in which a call is stopped more often."""

    begin: int
    end: int
    interval: int


@dataclass(frozen=True)
class Log:
    """What happened between two amounts of fuel in the words that were watched.

    `fuel` [K] is what was burnt at each pause, `address` [W] the index of each watched word in memory, `first` [W] its
    value at the first pause. Event e says that at pause `pause[e]` the word number `word[e]` had become `value[e]`.
    """

    fuel: Int
    address: Int
    first: Words
    pause: Int
    word: Int
    value: Words

    def at(self, pause: int) -> Words:
        """Return the watched words as they were at a pause: [W]."""
        state = self.first.copy()
        until = int(np.searchsorted(self.pause, pause, side="right"))
        state[self.word[:until]] = self.value[:until]  # of several to one word the last one stays
        return state


def changed_pages(call: WatchedCall, begin: int, end: int, samples: int = 48) -> Int:
    """Return the pages of 4 KiB that change while the call burns fuel from `begin` to `end`."""
    step = max(1, (end - begin) // samples)
    before = np.zeros(0, np.uint32)
    dirty: set[int] = set()

    def look(fuel: int, words: Words) -> int | None:
        nonlocal before
        if fuel < begin:
            return max(1, begin - fuel)
        if not before.size:
            before = words.copy()
            return step
        if words.size > before.size:
            before = np.concatenate([before, np.zeros(words.size - before.size, np.uint32)])
        pages = np.flatnonzero((words != before).reshape(-1, PAGE_WORDS).any(axis=1))
        for page in pages.tolist():
            part = slice(page * PAGE_WORDS, (page + 1) * PAGE_WORDS)
            before[part] = words[part]
        dirty.update(pages.tolist())
        if fuel > end:
            raise Enough
        return None

    _finish(call, max(1, begin), look)
    return np.array(sorted(dirty), np.int64)


def record(
    call: WatchedCall,
    begin: int,
    end: int,
    interval: int,
    pages: Int,
    windows: Sequence[Window] = (),
) -> Log:
    """Return what happens to the words of `pages` while the call burns fuel from `begin` to `end`.

    It is stopped after every `interval` units of fuel; inside of `windows`, which are sorted, as often as they say.
    """
    steps = [(edge, step) for window in windows for edge, step in ((window.begin, window.interval), (window.end, 0))]
    steps.append((MOST_FUEL, 0))
    passed, current = 0, interval
    ranges = _ranges(pages)
    size = sum(last - first for first, last in ranges)
    before = np.zeros(size, np.uint32)
    first = before
    fuels: list[int] = []
    counts: list[int] = []
    words_changed: list[Int] = []
    values: list[Words] = []
    places = [(start, last, place) for (start, last), place in zip(ranges, _starts(ranges), strict=True)]
    memory = before
    address = np.concatenate([np.arange(a, b) for a, b in ranges]) if ranges else np.zeros(0, np.int64)
    not_equal, any_of = np.not_equal, np.logical_or.reduce
    unequal = np.zeros(size // 2, np.bool_)  # in pairs of words
    changes = np.zeros(size, np.int64)
    views: list[tuple[Any, Any, NDArray[np.bool_]]] = []

    def look(fuel: int, words: Words) -> int | None:
        nonlocal first, memory, views, passed, current
        if fuel < begin:
            return max(1, begin - fuel)
        if words is not memory:
            memory = words
            there = ((a, min(b, words.size), p) for a, b, p in places)  # pages that are not there yet hold zeros
            views = [
                (words[a:b].view(np.uint64), before[p : p + b - a].view(np.uint64), unequal[p // 2 : (p + b - a) // 2])
                for a, b, p in there
                if a < b
            ]
        for now, old, flags in views:
            not_equal(now, old, flags)
        if any_of(unequal):
            pairs = unequal.nonzero()[0]
            both = np.concatenate([2 * pairs, 2 * pairs + 1])
            fresh = words[address[both]]
            changed = fresh != before[both]
            both, fresh = both[changed], fresh[changed]
            before[both] = fresh
            if fuels and len(both):
                changes[both] += 1
                busy = changes[both] > max(MOST_CHANGES, len(fuels) // OFTEN)
                kept = ~busy | (changes[both] < NO_MORE)
                both, fresh, busy = both[kept], fresh[kept], busy[kept]
                fresh[busy], changes[both[busy]] = UNKNOWN, NO_MORE
                counts.append(len(fuels))
                words_changed.append(both)
                values.append(fresh)
        if not fuels:
            first = before.copy()
        fuels.append(fuel)
        if fuel > end:
            raise Enough
        while steps[passed][0] <= fuel:
            current = steps[passed][1] or interval
            passed += 1
        return min(current, steps[passed][0] - fuel)

    _finish(call, max(1, begin), look)
    lengths = [len(part) for part in values]
    return Log(
        fuel=np.array(fuels, np.int64),
        address=address,
        first=first,
        pause=np.repeat(np.array(counts, np.int64), lengths),
        word=np.concatenate(words_changed) if values else np.zeros(0, np.int64),
        value=np.concatenate(values) if values else np.zeros(0, np.uint32),
    )


def _finish(call: WatchedCall, interval: int, look: OnPause) -> None:
    """Run to the end of the call, or as far as `look` wants; what the end leaves behind is looked at too."""
    try:
        instance = call.run(interval, look)
        look(instance.fuel_of_watched, instance.words())
    except Enough:
        pass


def _ranges(pages: Int) -> list[tuple[int, int]]:
    """Return ranges of words that hold the pages."""
    ranges: list[tuple[int, int]] = []
    for page in pages.tolist():
        start, last = page * PAGE_WORDS, (page + 1) * PAGE_WORDS
        if ranges and start - ranges[-1][1] <= NEAR_PAGES * PAGE_WORDS:
            ranges[-1] = ranges[-1][0], last
        else:
            ranges.append((start, last))
    return ranges


def _starts(ranges: list[tuple[int, int]]) -> list[int]:
    """Return where each range begins among the watched words."""
    sizes = [last - first for first, last in ranges]
    return [sum(sizes[:index]) for index in range(len(sizes))]
