"""Measure how far two sets of rows lie apart, in log probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.asked import Kind
from refruntime.judge.observed import Grid, ObservedRows, grid_of, log_probabilities

Float64 = NDArray[np.float64]

CLEAN: Final = 0.1
"""Which quantile of the positions is called typical, of an engine and of the known ones alike, so that it is no band.

Measured: from 0 to 0.4 no verdict of the six planted faults and of engines without one is another."""


@dataclass(frozen=True)
class Distance:
    """Differences of log probabilities, for each position the root of their mean square: a low quantile, the worst.

    Where inputs are quantised, a rounding may turn a quant over, and nothing behind it is the same. An engine that does
    the right thing has positions where that did not happen (`typical`), and others are no worse than that makes them
    (`worst`). Some faults do not show at the first position, others are smaller than what a quant does.
    `largest` lies at `position` and `token`; `equal` says that every number that was told is the same. `places` are all
    positions where something was told.
    """

    typical: float
    worst: float
    largest: float
    position: int
    token: int
    equal: bool
    places: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return dict(vars(self))


class Ruler:
    """Compare rows of ours with what an engine was observed to compute."""

    def __init__(self, observed: ObservedRows) -> None:
        self.grid: Grid = grid_of(observed.values)
        self._kind: Kind = observed.kind
        self._positions = observed.positions
        self._values = observed.values.astype(np.float64)
        self._logs = self._logs_of(self._values)

    def _logs_of(self, values: NDArray[Any]) -> Float64:
        if self._kind == "logits" and not np.isnan(values).any():
            return log_probabilities(values)
        return values.astype(np.float64)

    def measure(self, rows: NDArray[Any]) -> Distance:
        """Measure logits [T, V] of ours; those beyond the engine's vocabulary are left out."""
        shown = self._shown(rows[:, : self._values.shape[1]])
        equal = np.array_equal(shown, self._values, True)
        return _distance(self._logs_of(shown), self._logs, equal, self._positions)

    def read(self, rows: NDArray[Any], rounds: bool = False) -> Float64:
        """Return log probabilities of logits [T, V] as the engine would show them, NaN where it tells nothing.

        With `rounds` as an engine that takes the logarithms of float32 itself.
        """
        rows = rows[:, : self._values.shape[1]]
        if rounds and self._kind == "log probabilities":
            return self._placed(_single_logarithms(rows))
        return self._logs_of(self._shown(rows))

    def places(self, first: Float64, second: Float64) -> Float64:
        """Return how far two that were read lie apart at each position where something is told: [T]."""
        return _by_place(*_differences(first, second))

    def _shown(self, rows: NDArray[Any]) -> Float64:
        """Return our logits as the source would write them."""
        return self._placed(log_probabilities(rows) if self._kind == "log probabilities" else rows)

    def _placed(self, values: NDArray[Any]) -> Float64:
        """Put numbers onto the grid of the source, NaN where it tells nothing."""
        return np.where(np.isnan(self._values), np.nan, self.grid.place(values))


def _distance(ours: Float64, theirs: Float64, equal: bool, positions: tuple[int, ...]) -> Distance:
    difference, told = _differences(ours, theirs)
    row, token = np.unravel_index(int(np.argmax(difference)), difference.shape)
    rows = _by_place(difference, told)
    largest, places = float(difference[row, token]), tuple(rows.tolist())
    return Distance(typical_of(rows), worst_of(rows), largest, positions[row], int(token), equal, places)


def typical_of(rows: Float64) -> float:
    """Return what a distance is at clean positions, of those of all [T]."""
    return float(np.quantile(rows, CLEAN, method="lower")) if rows.size else 0.0


def worst_of(rows: Float64) -> float:
    """Return the largest of the distances at all positions [T]."""
    return float(rows.max()) if rows.size else 0.0


def _differences(ours: Float64, theirs: Float64) -> tuple[Float64, NDArray[np.bool_]]:
    """Return differences [T, V], 0 where nothing is told, and where something is."""
    with np.errstate(all="ignore"):
        difference = np.abs(ours - theirs)
    if np.isfinite(difference).all():
        return difference, np.ones(difference.shape, np.bool_)
    difference[ours == theirs] = 0.0  # equal infinities
    told = ~(np.isnan(ours) & np.isnan(theirs))
    difference[~told] = 0.0
    difference[np.isnan(difference)] = np.inf
    return difference, told


def _by_place(difference: Float64, told: NDArray[np.bool_]) -> Float64:
    """Return the root of the mean square of each position where something is told: [T, V] -> [T]."""
    with np.errstate(all="ignore"):
        squares = np.einsum("tv,tv->t", difference, difference) / np.maximum(told.sum(axis=1), 1)
    rows: Float64 = np.sqrt(squares)[told.any(axis=1)]
    return rows


@np.errstate(all="ignore")
def _single_logarithms(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return log probabilities [T, V] with every step in float32, the shares added one by one."""
    single = rows.astype(np.float32)
    single = single - single.max(axis=1, keepdims=True)
    shares = np.exp(single)
    total = np.add.accumulate(shares, axis=1)[:, -1:]
    logs: NDArray[np.float32] = np.where(shares > 0, np.log(shares / total), single - np.log(total))
    return logs
