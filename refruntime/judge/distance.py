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
"""Share of positions that must be free of accidents for an arithmetic to be recognised."""


@dataclass(frozen=True)
class Distance:
    """Differences of log probabilities, for each position the root of their mean square: a low quantile, the worst.

    Where inputs are quantised, a rounding may turn a quant over, and nothing behind it is the same. An engine that does
    the right thing has positions where that did not happen (`typical`), and others are no worse than that makes them
    (`worst`). Some faults do not show at the first position, others are smaller than what a quant does.
    `largest` lies at `position` and `token`; `equal` says that every number that was told is the same.
    """

    typical: float
    worst: float
    largest: float
    position: int
    token: int
    equal: bool

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
        rows = rows[:, : self._values.shape[1]]
        shown = self._shown(rows)
        return _distance(self._logs_of(shown), self._logs, np.array_equal(shown, self._values, True), self._positions)

    def between(self, rows: NDArray[Any], others: NDArray[Any]) -> Distance:
        """Measure two sets of our own as the engine would show them, where it tells something."""
        width, told = self._values.shape[1], ~np.isnan(self._values)
        first, second = (np.where(told, self._shown(each[:, :width]), np.nan) for each in (rows, others))
        equal = np.array_equal(first, second, True)
        return _distance(self._logs_of(first), self._logs_of(second), equal, self._positions)

    def _shown(self, rows: NDArray[Any]) -> Float64:
        """Return our logits as the source would write them."""
        values = log_probabilities(rows) if self._kind == "log probabilities" else rows
        placed = self.grid.place(values)
        return np.where(np.isnan(self._values), np.nan, placed)


def _distance(ours: Float64, theirs: Float64, equal: bool, positions: tuple[int, ...]) -> Distance:
    with np.errstate(all="ignore"):
        difference = np.abs(ours - theirs)
    difference[ours == theirs] = 0.0  # equal infinities
    difference[np.isnan(ours) & np.isnan(theirs)] = 0.0
    told = ~(np.isnan(ours) & np.isnan(theirs))
    difference[np.isnan(difference)] = np.inf
    row, token = np.unravel_index(int(np.argmax(difference)), difference.shape)
    squares = np.where(told, difference, 0.0)
    with np.errstate(all="ignore"):
        rows = np.sqrt((squares * squares).sum(axis=1) / np.maximum(told.sum(axis=1), 1))[told.any(axis=1)]  # [T]
    typical = float(np.quantile(rows, CLEAN, method="lower")) if rows.size else 0.0
    worst = float(rows.max()) if rows.size else 0.0
    return Distance(typical, worst, float(difference[row, token]), positions[row], int(token), equal)
