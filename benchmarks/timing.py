"""How long something takes, for all benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable


def best(action: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the shortest of several runs in seconds, of the wall or of another clock."""
    times = []
    for _ in range(rounds):
        begin = clock()
        action()
        times.append(clock() - begin)
    return min(times)
