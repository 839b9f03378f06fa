"""Split work over threads: outputs are shared out, never a sum, so that no number depends on how many there are."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

Range = tuple[int, int]
Tile = TypeVar("Tile")

MOST: Final = 8
"""Threads that are used at most unless a number is given."""


def ranges(count: int, parts: int) -> list[Range]:
    """Split 0 .. count - 1 into ranges of nearly equal length."""
    return list(itertools.pairwise(count * index // parts for index in range(parts + 1)))


def processors() -> int:
    """Return how many processors this process may use, which a container or `taskset` bounds."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Threads:
    """A number of threads, started when first needed; by default one for each processor that this process may use."""

    def __init__(self, name: str, count: int | None = None) -> None:
        self.count = count if count is not None else min(processors(), MOST)
        self._name = name
        self._pool: ThreadPoolExecutor | None = None

    def parts(self, work: int, worth_a_thread: int) -> int:
        """Return into how many parts work is split, so that each is worth a thread."""
        return max(1, min(self.count, work // worth_a_thread))

    def each(self, work: Callable[[Tile], None], tiles: Iterable[Tile]) -> None:
        """Do the work of all tiles in this thread and, where there are several, in helping ones.

        Each takes the next tile when it is done with one, so that a thread that comes late holds up nobody.
        """
        waiting = deque(tiles)
        if len(waiting) == 1:
            return work(waiting[0])

        def drain() -> None:
            while True:
                try:
                    tile = waiting.popleft()
                except IndexError:
                    return
                work(tile)

        helpers = []
        if self.count > 1 and len(waiting) > 1:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.count, thread_name_prefix=self._name)
            helpers = [self._pool.submit(drain) for _ in range(min(self.count, len(waiting)) - 1)]
        drain()
        for helper in helpers:
            if not helper.cancel():  # one that has not begun has nothing left to do
                helper.result()
