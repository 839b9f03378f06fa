"""Measure how far a choice of a token lies from an edge, against what float32 cannot tell apart (the band).

The band is measured: how far float32 and float64 lie apart at this very step. Inside the band any correct float32
runtime may choose either token; outside of it, it may not. So a `Flip`, a token that a build chose otherwise, is a near
tie or a mismatch; and where a `Decision` of a session lies inside the band, no golden is written.

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

from refruntime.differential.samples import Sample
from refruntime.model.forward import Transformer
from refruntime.sampling import Choice, Drawn

FLOAT32_EPSILON = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Flip:
    """The first token that differs at step `index`, in sampling step `sample` of the session.

    `margin` and `band` are in logits for a greedy choice, in shares of the probability mass for a drawn one.
    """

    index: int
    sample: int
    reference_token: int
    build_token: int
    reference_text: bytes
    build_text: bytes
    margin: float
    band: float
    drawn: bool

    @property
    def near_tie(self) -> bool:
        """Say whether float32 cannot tell the two tokens apart."""
        return self.margin <= self.band


def measure(
    choice: Choice,
    token: int,
    logits: NDArray[np.float32],
    exact: NDArray[np.float64],
    temperature: float,
) -> tuple[float, float]:
    """Return margin and band of the decision between the oracle's choice and `token`.

    `logits` [V] are those of float32, `exact` [V] those of float64 after the same ids. The margin is infinite where no
    rounding explains the token.
    """
    if token >= logits.size:
        return math.inf, 0.0
    if choice.drawn is None:
        return _greedy(choice.token, token, logits, exact)
    return _drawn(choice.drawn, token, exact, temperature)


def _greedy(mine: int, theirs: int, logits: NDArray[np.float32], exact: NDArray[np.float64]) -> tuple[float, float]:
    """Return the gap between the two logits, and twice the largest error of a logit: both may be off."""
    errors = np.abs(logits.astype(np.float64) - exact)  # [V]
    finite = errors[np.isfinite(errors)]
    margin = float(logits[mine]) - float(logits[theirs])
    return margin if math.isfinite(margin) else math.inf, 2 * float(finite.max(initial=0.0))


def _drawn(drawn: Drawn, token: int, exact: NDArray[np.float64], temperature: float) -> tuple[float, float]:
    """Return how far the coin lies from the token's share of the mass, and the largest error of an edge, twice."""
    weighing, cut = drawn.weighing, drawn.cut
    kept = drawn.selection.ids[: cut.kept]  # [R]
    edges = weighing.cumulative[: cut.kept].astype(np.float64) / float(cut.mass)  # [R]
    scaled = exact[kept] / temperature
    weights = np.exp(scaled - scaled.max())
    exact_edges = np.cumsum(weights) / weights.sum()  # [R]
    band = 2 * float(np.abs(edges - exact_edges).max()) + FLOAT32_EPSILON
    places = np.flatnonzero(kept == token)
    if places.size == 0:
        return math.inf, band
    place = int(places[0])
    coin, low = float(drawn.pick.point) / float(cut.mass), float(edges[place - 1]) if place else 0.0
    return max(0.0, low - coin, coin - float(edges[place])), band


# Decisions of a session ----------------------------------------------------------------------------------------------


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
