"""Which arithmetics can be told apart on a model and text: by engines whose arithmetic is known.

An engine of one arithmetic may lie nearer to another one at some positions by accident; engines of known arithmetic
say how much nearer, and at how many. An arithmetic is refuted where more than that speaks against it beyond what speaks
for it, and at most positions: of all, or of those at which all known engines of either take their own side.
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
    """Another arithmetic is nearer at `places` positions than engines of this one ever are.

    `weight` is how much nearer, in powers of e over all positions, less what says the opposite; `chance` is how much an
    engine may have against its own arithmetic: as much beyond the most of a known one as that beyond the least.
    """

    by: int
    places: int
    weight: float
    chance: float

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return everything as plain values."""
        return {"by": names[self.by], "places": self.places, "weight": self.weight, "chance": self.chance}


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
        every = np.concatenate([np.ravel(each) for own in self._known for each in own])
        self._least = float(every[every > 0].min(initial=1.0))  # what no distance is told from
        against = list(self._by_chance())
        self.chance = 2 * max(against) - min(against) if against else 0.0

    def refutations(self, engine: Float64, explained: Sequence[int]) -> dict[int, Refutation]:
        """Return what of the explained arithmetics is refuted by another one for an engine [P, T]."""
        found: dict[int, Refutation] = {}
        for own in explained:
            for other in self._others(own):
                against = self._nearer(engine, other, own, self._known[own])  # [T]
                opposed = self._nearer(engine, own, other, self._known[other])
                weight, places = float(against.sum() - opposed.sum()), int(np.count_nonzero(against))
                most = 2 * places > engine.shape[1] or self._sides_with(engine, other, own)
                if most and weight > max(self.chance, found[own].weight if own in found else 0.0):
                    found[own] = Refutation(other, places, weight, self.chance)
        return found

    def _sides_with(self, engine: Float64, other: int, own: int) -> bool:
        """Say whether an engine sides with another arithmetic at most positions where known engines take sides."""
        for_own = np.all([each[own] < each[other] for each in self._orders[own]], axis=0)  # [T]
        for_other = np.all([each[other] < each[own] for each in self._orders[other]], axis=0)
        deciding = for_own & for_other
        return 2 * int(np.count_nonzero(deciding & (engine[other] < engine[own]))) > int(np.count_nonzero(deciding))

    def _by_chance(self) -> Iterator[float]:
        """Yield the most that each known engine has against its own arithmetic."""
        for own, engines in enumerate(self._known):
            for place, engine in enumerate(engines[1:], 1):
                rest = [*engines[:place], *engines[place + 1 :]]
                yield max((float(self._nearer(engine, each, own, rest).sum()) for each in self._others(own)), default=0)

    def _others(self, own: int) -> list[int]:
        return [other for other, kind in enumerate(self._kinds) if kind != self._kinds[own]]

    def _nearer(self, engine: Float64, other: int, own: int, engines: Sequence[Float64]) -> Float64:
        """Return how much nearer an engine [P, T] is to another arithmetic than all these of its own: [T].

        It is 0 where it is nearer to its own.
        """
        nearest = np.min([each[other] for each in engines], axis=0)  # [T]
        ratios: Float64 = np.log(np.maximum(nearest, self._least) / np.maximum(engine[other], self._least))
        return np.where(engine[other] < engine[own], np.maximum(ratios, 0.0), 0.0)
