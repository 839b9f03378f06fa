"""Which arithmetics can be told apart on a model and text: by engines whose arithmetic is known.

An engine of one arithmetic may lie nearer to another one at some positions by accident; engines of known arithmetic
say at how many. Only what speaks against an arithmetic at more positions than that, and at most of them, refutes it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Refutation:
    """Another arithmetic is nearer at `places` positions than engines of this one ever are; `chance` of them do that.

    `chance` is the most that a measured engine has against its own arithmetic.
    """

    by: int
    places: int
    chance: int

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return everything as plain values."""
        return {"by": names[self.by], "places": self.places, "chance": self.chance}


class Telling:
    """Known engines: `known[a]` are those of arithmetic a, each with its distances from every arithmetic [P, T].

    Arithmetics of one of the `kinds` are not told apart. The first of each is the arithmetic itself.
    """

    def __init__(self, kinds: Sequence[Hashable], known: Sequence[Sequence[Float64]]) -> None:
        self._kinds, self._known = kinds, known
        self.chance = max(self._by_chance(), default=0)

    def refutations(self, engine: Float64, explained: Sequence[int]) -> dict[int, Refutation]:
        """Return what of the explained arithmetics is refuted by another one for an engine [P, T]."""
        found: dict[int, Refutation] = {}
        for own in explained:
            for other in self._others(own):
                places = _speaks(engine, other, own, self._known[own])
                if places > max(self.chance, engine.shape[1] // 2, found[own].places if own in found else 0):
                    found[own] = Refutation(other, places, self.chance)
        return found

    def _by_chance(self) -> Iterator[int]:
        """Yield at how many positions known engines speak against their own arithmetic."""
        for own, engines in enumerate(self._known):
            for place, engine in enumerate(engines[1:], 1):
                rest = [*engines[:place], *engines[place + 1 :]]
                yield from (_speaks(engine, other, own, rest) for other in self._others(own))

    def _others(self, own: int) -> list[int]:
        return [other for other, kind in enumerate(self._kinds) if kind != self._kinds[own]]


def _speaks(engine: Float64, other: int, own: int, engines: Sequence[Float64]) -> int:
    """Count positions where an engine [P, T] lies nearer to another arithmetic than to its own, and than all these."""
    nearest = np.min([each[other] for each in engines], axis=0)  # [T]
    return int(np.count_nonzero((engine[other] < nearest) & (engine[other] < engine[own])))
