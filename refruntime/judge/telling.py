"""Which arithmetics can be told apart on a model and text: by engines whose arithmetic is known.

An engine of one arithmetic may lie nearer to another one at some positions by accident; engines of known arithmetic
say at how many. An arithmetic is refuted where more positions than that speak against it than for it, and where these
are most positions: of all, or of those at which all known engines of either arithmetic take their own side.
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
    """At `places` positions more than the other way round, another arithmetic is nearer than to engines of this one.

    `chance` is at how many positions a measured engine has that against its own arithmetic, at most.
    """

    by: int
    places: int
    chance: int

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return everything as plain values."""
        return {"by": names[self.by], "places": self.places, "chance": self.chance}


class Telling:
    """Known engines: `orders[a]` are those of arithmetic a, each with its distances from every arithmetic [P, T].

    The first of each is the arithmetic itself; `turned[a]` are those that had accidents. Arithmetics of one of the
    `kinds` are not told apart.
    """

    def __init__(
        self, kinds: Sequence[Hashable], orders: Sequence[Sequence[Float64]], turned: Sequence[Sequence[Float64]] = ()
    ) -> None:
        self._kinds, self._orders = kinds, orders
        self._known = [[*own, *(turned[place] if turned else ())] for place, own in enumerate(orders)]
        self.chance = max(self._by_chance(), default=0)

    def refutations(self, engine: Float64, explained: Sequence[int]) -> dict[int, Refutation]:
        """Return what of the explained arithmetics is refuted by another one for an engine [P, T]."""
        found: dict[int, Refutation] = {}
        for own in explained:
            for other in self._others(own):
                against = _speaks(engine, other, own, self._known[own])
                places = against - _speaks(engine, own, other, self._known[other])
                least = found[own].places if own in found else 0
                most = 2 * places > engine.shape[1] or self._sides_with(engine, other, own)
                if places > max(self.chance, least) and most:
                    found[own] = Refutation(other, places, self.chance)
        return found

    def _sides_with(self, engine: Float64, other: int, own: int) -> bool:
        """Say whether an engine sides with another arithmetic at most positions where known engines take sides."""
        for_own = np.all([each[own] < each[other] for each in self._orders[own]], axis=0)  # [T]
        for_other = np.all([each[other] < each[own] for each in self._orders[other]], axis=0)
        deciding = for_own & for_other
        return 2 * int(np.count_nonzero(deciding & (engine[other] < engine[own]))) > int(np.count_nonzero(deciding))

    def _by_chance(self) -> Iterator[int]:
        """Yield at how many positions known engines speak against their own arithmetic."""
        for own, engines in enumerate(self._known):
            for place, engine in enumerate(engines[1:], 1):
                rest = [*engines[:place], *engines[place + 1 :]]
                yield from (_speaks(engine, other, own, rest) for other in self._others(own))

    def _others(self, own: int) -> list[int]:
        return [other for other, kind in enumerate(self._kinds) if kind != self._kinds[own]]


def _speaks(engine: Float64, other: int, own: int, engines: Sequence[Float64]) -> int:
    """Count positions where an engine [P, T] lies nearer to another arithmetic than to one, and than all of that do."""
    nearest = np.min([each[other] for each in engines], axis=0)  # [T]
    return int(np.count_nonzero((engine[other] < nearest) & (engine[other] < engine[own])))
