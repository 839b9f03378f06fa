"""Say between which amounts of fuel a build works at a position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from refruntime.engines.wasm.pauses import Words
from refruntime.witness.kv_map import CacheMap
from refruntime.witness.recording import WatchedCall

PAUSES_PER_POSITION: Final = 24


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


def windows_by_cache(call: WatchedCall, fuel: int, keys: CacheMap) -> Windows:
    """Watch the first and the last layer of the cache change, position by position."""
    positions = keys.word.shape[1]
    first, last = _words(keys, 0), _words(keys, -1)
    began = np.full(positions, fuel, np.int64)  # the pause at which the first layer had changed
    ended = np.zeros(positions, np.int64)  # the pause before the one at which the last layer had changed
    done_first, done_last = np.zeros(positions, np.bool_), np.zeros(positions, np.bool_)
    ended[:] = fuel
    previous = 0
    initial: tuple[Words, Words] | None = None

    def look(burnt: int, words: Words) -> None:
        nonlocal previous, initial
        if words.size <= max(int(first.max()), int(last.max())):
            previous = burnt
            return
        if initial is None:
            initial = words[first], words[last]
        changed = ~done_first & (words[first] != initial[0])
        began[changed] = burnt
        done_first[changed] = True
        changed = ~done_last & (words[last] != initial[1])
        ended[changed] = previous
        done_last[changed] = True
        previous = burnt

    call.run(max(1, fuel // (PAUSES_PER_POSITION * positions)), look)
    begin = [0 if position == 0 else int(min(ended[position - 1], fuel)) for position in range(positions)]
    end = [int(began[position + 1]) if position + 1 < positions else fuel for position in range(positions)]
    return Windows(tuple(begin), tuple(max(a + 1, b) for a, b in zip(begin, end, strict=True)))


def _words(keys: CacheMap, layer: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return a word of each position in a layer that was found."""
    usable = [index for index in range(keys.word.shape[0]) if (keys.word[index] >= 0).all()]
    return keys.word[usable[layer], :, 0]
