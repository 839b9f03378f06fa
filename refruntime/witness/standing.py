"""Tell arrays whose numbers stood in memory all the time, so that computing them again changed nothing.

Two positions may have the same logits. Only changes are recorded, so such an array is nowhere in a record, and whatever
else is alike would be taken for it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from refruntime.engines.wasm.pauses import Enough, Words
from refruntime.witness.expected import Expected
from refruntime.witness.locate import bits
from refruntime.witness.recording import Int, WatchedCall

LEAST_NUMBERS: Final = 8
PROBES: Final = 8
MOST_PLACES: Final = 4096


def memory_at(call: WatchedCall, fuel: int) -> Words:
    """Return a copy of memory at the first pause at which so much fuel is burnt, or at the end of the call."""
    held: list[Words] = []

    def look(_fuel: int, words: Words) -> int | None:
        held.append(words.copy())
        raise Enough

    try:
        instance = call.run(max(1, fuel), look)  # its memory lives as long as it does
        return instance.words().copy()
    except Enough:
        return held[0]


def stands(memory: Words, expected: Expected, watched: Int) -> bool:
    """Say whether all numbers of an array lie side by side in memory, at words that were not watched."""
    row = bits(expected.values).reshape(-1)
    candidates, places = np.unique(row, return_index=True)
    usable = (candidates << np.uint32(1)) != 0
    candidates, places = candidates[usable][:PROBES], places[usable][:PROBES]
    if not expected.needs or expected.lasting or len(row) < LEAST_NUMBERS or len(candidates) < 2:
        return False
    found = [np.flatnonzero(memory == value) - place for value, place in zip(candidates, places, strict=True)]
    bases = min(found, key=len)
    bases = bases[(bases >= 0) & (bases + len(row) <= len(memory))]
    bases = bases[~np.isin(bases, watched)][:MOST_PLACES]
    return any(np.array_equal(memory[base : base + len(row)], row) for base in bases.tolist())
