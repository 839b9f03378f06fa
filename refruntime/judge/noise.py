"""How far rounding carries an engine: measured on engines of known arithmetic, and no constant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def reach(distances: Iterable[float], apart: float = 1.0) -> float:
    """Return how far one more engine may lie: as much beyond the farthest of those measured as that beyond the nearest.

    No order of sums has to be among the measured ones; how much these differ from each other says how much one differs,
    and where few happen to be alike, `apart` says it, how much they differ at a position.
    """
    known = [distance for distance in distances if distance > 0]
    return max(known) * max(apart, max(known) / min(known)) if known else 0.0


@dataclass(frozen=True)
class Noise:
    """Distances of measured engines from their own arithmetic: `typical` and `worst` of other orders of sums.

    `apart` is how many times farther the farthest of them lies than the nearest, in the median of positions.
    `accidents` are the worst of those with inputs rounded to the other side, none where no input is rounded. Orders may
    have an accident too, or not: then they lie apart for another reason than their sums, and what an accident does is
    the limit.
    """

    typical: Sequence[float]
    worst: Sequence[float]
    accidents: Sequence[float] = ()
    apart: float = 1.0

    @property
    def band(self) -> float:
        """Return the farthest typical distance that was measured."""
        return max(self.typical, default=0.0)

    @property
    def worst_band(self) -> float:
        """Return the farthest worst distance that was measured, accidents included."""
        return max((*self.worst, *self.accidents), default=0.0)

    @property
    def limit(self) -> float:
        """Return how far an engine may lie where it is typical."""
        return min(reach(self.typical, self.apart), self.worst_limit)

    @property
    def worst_limit(self) -> float:
        """Return how far an engine may lie in its worst position."""
        if any(self.accidents):
            return max(*self.worst, reach(self.accidents))
        return reach(self.worst, self.apart)


def apart_at_positions(policies: Iterable[Sequence[Float64]]) -> float:
    """Return how many times farther the farthest order [T] lies than the nearest, the median of positions."""
    ratios: list[float] = []
    for orders in policies:
        rows = np.array(orders)  # [k, T]
        nearest = rows.min(axis=0)
        ratios += (rows.max(axis=0)[nearest > 0] / nearest[nearest > 0]).tolist()
    return float(np.median(ratios)) if ratios else 1.0
