"""Tell a near tie from a mismatch by numbers: the margin of a decision against the band of float32.

The band is measured: how far float32 and float64 lie apart at this very step. Inside the band any correct float32
runtime may choose either token; outside of it, it may not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
