"""Measure how far every decision of a session lies from an edge: where float32 cannot tell, no golden is written.

A greedy choice is one decision: the two greatest logits. A draw is several: the winner's neighbours in the order of
logits, and the coin against the winner's share, for every top-p cut that float32 cannot tell from the actual one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.differential.near_tie import FLOAT32_EPSILON
from refruntime.differential.samples import Sample
from refruntime.model.forward import Transformer


@dataclass(frozen=True)
class Decision:
    """One decision of sample `sample` of the session: `margin` from its edge, `band` that float32 cannot tell apart."""

    sample: int
    name: str
    margin: float
    band: float

    @property
    def near_tie(self) -> bool:
        """Say whether another order of additions may decide otherwise."""
        return not self.margin > self.band


def measure_decisions(samples: Sequence[Sample], exact: Transformer, start: int = 0) -> Iterator[Decision]:
    """Yield the decisions of samples that one model made; `exact` is that model in float64.

    `start` is the number of the first sample in the session.
    """
    for first, last in _generations(samples):
        rows = _exact_rows(samples[first : last + 1], exact)
        for number, row in zip(range(first, last + 1), rows, strict=True):
            yield from _decisions(start + number, samples[number], row)


def _generations(samples: Sequence[Sample]) -> Iterator[tuple[int, int]]:
    """Yield first and last index of samples whose ids continue one another."""
    first = 0
    for index in range(1, len(samples) + 1):
        ends = index == len(samples)
        if ends or samples[index].ids[: len(samples[index - 1].ids)] != samples[index - 1].ids:
            yield first, index - 1
            first = index


def _exact_rows(samples: Sequence[Sample], exact: Transformer) -> list[NDArray[Any]]:
    """Return the float64 logits [V] of every sample: one pass serves the whole generation."""
    shortest, ids = len(samples[0].ids), list(samples[-1].ids)
    logits = exact.forward(ids, exact.new_cache(), first_logit=shortest - 1)  # [1 + longest - shortest, V]
    return [logits[len(sample.ids) - shortest] for sample in samples]


def _decisions(number: int, sample: Sample, exact: NDArray[np.float64]) -> Iterator[Decision]:
    ordered = -np.sort(-sample.logits[~np.isnan(sample.logits)])  # greatest first: [<= V]
    error = 2 * _largest_error(sample.logits, exact)
    drawn = sample.choice.drawn
    if drawn is None:
        yield from _neighbours(number, "greatest logit", ordered, 0, error)
        return
    selection, weighing, cut, draw, pick = drawn.selection, drawn.weighing, drawn.cut, drawn.draw, drawn.pick
    yield from _neighbours(number, "order of logits", ordered, pick.index, error)
    total = float(weighing.total)
    sums = weighing.cumulative.astype(np.float64) / total  # [R]
    scaled = exact[selection.ids] / sample.temperature
    with np.errstate(all="ignore"):
        weights = np.exp(scaled - scaled.max())
        exact_sums = np.cumsum(weights) / weights.sum()  # [R]
    band = 2 * _largest_error(sums, exact_sums) + FLOAT32_EPSILON
    for kept in _possible_cuts(sums, float(cut.threshold) / total, band, cut.kept):
        name = "coin" if kept == cut.kept else "top-p cut"
        yield Decision(number, name, _coin_margin(sums[:kept], float(draw.unit), pick.index), band)


def _possible_cuts(sums: NDArray[np.float64], threshold: float, band: float, kept: int) -> list[int]:
    """Return how many candidates are kept: as it is, and the least and the most that the band allows."""
    reached = [int(np.searchsorted(sums, edge)) + 1 for edge in (threshold - band, threshold, threshold + band)]
    dropped = 1 if kept < min(reached[1], sums.size) else 0  # the profile may drop the candidate that crosses
    return sorted({kept, *(max(1, min(count, sums.size) - dropped) for count in reached)})


def _coin_margin(sums: NDArray[np.float64], unit: float, index: int) -> float:
    """Return how far the coin lies inside the share of candidate `index` of a kept prefix; negative outside of it."""
    if index >= sums.size:
        return -math.inf
    coin = unit * float(sums[-1])
    low = coin - float(sums[index - 1]) if index > 0 else math.inf
    high = float(sums[index]) - coin if index < sums.size - 1 else math.inf
    return min(low, high)


def _neighbours(number: int, name: str, ordered: NDArray[np.float32], place: int, error: float) -> Iterator[Decision]:
    """Compare the winner with the logits right before and after it, where there are such."""
    for better, worse in ((place - 1, place), (place, place + 1)):
        if better < 0 or worse >= ordered.size or ordered[better] == -math.inf:
            continue
        with np.errstate(all="ignore"):
            margin = float(ordered[better]) - float(ordered[worse])
        yield Decision(number, name, margin, error)


def _largest_error(values: NDArray[Any], exact: NDArray[np.float64]) -> float:
    with np.errstate(all="ignore"):
        errors = np.abs(values.astype(np.float64) - exact)
    return float(errors[np.isfinite(errors)].max(initial=0.0))
