"""Say between which amounts of fuel a build works at a position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from refruntime.engines.wasm.pauses import Words
from refruntime.witness.kv_map import CacheMap
from refruntime.witness.recording import Int, WatchedCall

PAUSES_PER_POSITION: Final = 24
NEIGHBOURS: Final = 2


@dataclass(frozen=True)
class Windows:
    """For each position fuel before its first number was computed, and fuel after its last was."""

    begin: tuple[int, ...]
    end: tuple[int, ...]

    def of(self, position: int) -> tuple[int, int]:
        """Return where to look for a position."""
        return self.begin[position], self.end[position]


def even_windows(fuel: int, positions: int) -> Windows:
    """Divide a call evenly, with room on both sides; for builds whose cache was not found."""
    each = fuel / max(1, positions)
    begin = [max(0, int((position - 0.6) * each)) for position in range(positions)]
    end = [min(fuel, int((position + 1.9) * each)) for position in range(positions)]
    return Windows(tuple(begin), tuple(end))


def windows_by_cache(call: WatchedCall, fuel: int, parts: Sequence[CacheMap]) -> Windows:
    """Watch keys and values of all layers change, position by position: the first and the last of them bound it.

    A place that changes at another time than the others agree on, never, or a position later is wrong itself and bounds
    nothing.
    """
    words = np.concatenate([_words(part) for part in parts])  # [M, P]
    positions = words.shape[1]
    interval = max(1, fuel // (PAUSES_PER_POSITION * positions))
    changed, before = _changes(call, fuel, interval, words)
    agreed, room = _agreed(changed), interval * PAUSES_PER_POSITION // 2
    apart = np.abs(changed - agreed) > room
    behind = np.median(agreed - agreed.min(axis=0), axis=1)  # [M]
    step = np.median(np.diff(agreed, axis=1)) if positions > 1 else np.inf
    first, last = int(np.argmin(behind)), int(np.argmax(np.where(behind < step, behind, -1)))
    began = np.where(apart, agreed + room, changed)[first]
    ended = np.where(apart, agreed - room, before)[last]
    begin = [0 if position == 0 else int(np.clip(ended[position - 1], 0, fuel)) for position in range(positions)]
    end = [int(min(began[position + 1], fuel)) if position + 1 < positions else fuel for position in range(positions)]
    return Windows(tuple(begin), tuple(max(a + 1, b) for a, b in zip(begin, end, strict=True)))


def _changes(call: WatchedCall, fuel: int, interval: int, words: Int) -> tuple[Int, Int]:
    """Return the fuel at the first pause at which each of some words [M, P] had changed, and at the pause before."""
    changed, before = np.full(words.shape, fuel, np.int64), np.full(words.shape, fuel, np.int64)
    done = np.zeros(words.shape, np.bool_)
    previous = 0
    initial: Words | None = None

    def look(burnt: int, memory: Words) -> None:
        nonlocal previous, initial
        if memory.size > int(words.max()):
            initial = memory[words] if initial is None else initial
            new = ~done & (memory[words] != initial)
            changed[new], before[new], done[new] = burnt, previous, True
        previous = burnt

    call.run(interval, look)
    return changed, before


def _agreed(changed: Int) -> Int:
    """Return when each of M places should change at each position, by the median of all and of neighbours: [M, P]."""
    positions = changed.shape[1]
    behind = np.median(changed - np.median(changed, axis=0), axis=1)[:, None]  # [M, 1]
    own = changed - behind
    step = np.median(np.diff(own, axis=1)) if positions > 1 else 0.0
    middle = np.empty(positions)
    for position in range(positions):
        far = min(NEIGHBOURS, position, positions - 1 - position)
        distance = np.arange(-far, far + 1)
        middle[position] = np.median(own[:, position + distance] - step * distance)
    return np.asarray(middle + behind, np.int64)


def _words(part: CacheMap) -> Int:
    """Return a word of each position in the layers that were found: [M, P]."""
    usable = (part.word >= 0).all(axis=(1, 2))
    return part.word[usable, :, 0]
