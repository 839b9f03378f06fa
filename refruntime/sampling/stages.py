"""The four stages of the sampler as pure functions: select, weigh, cut, pick. Each returns what it saw.

All sums are float32 in retained order (SA-4, SA-5). Letters: V vocabulary, R retained candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.limits import MAX_TOP_K
from refruntime.contract.profile import Profile
from refruntime.numerics.libm import expf

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Selection:
    """The retained candidates in descending order: `ids` int64 [R], `logits` float32 [R] (SA-2).

    `scaled` float32 [R]: the logits after the temperature, where it came before the selection (SA-3).
    """

    ids: NDArray[np.int64]
    logits: Float32
    scaled: Float32 | None = None


@dataclass(frozen=True)
class Weighing:
    """Weights before any cut: `weights` and running sums `cumulative`, float32 [R]; `total` is the last sum (SA-3).

    Where the profile normalises the weights, these are the quotients (SA-4).
    """

    weights: Float32
    cumulative: Float32
    total: np.float32

    @property
    def usable(self) -> bool:
        """Say whether the total is finite and greater than 0 (SA-4)."""
        return bool(np.isfinite(self.total) and self.total > 0)


@dataclass(frozen=True)
class Cut:
    """The kept prefix: `kept` candidates, `threshold` = top_p * total, `mass` = their weight (SA-5, SA-6)."""

    kept: int
    threshold: np.float32
    mass: np.float32


@dataclass(frozen=True)
class Pick:
    """The walk along the prefix: `point` = unit * mass fell to candidate `index` of the retained order (SA-6)."""

    index: int
    point: np.float32


def argmax(logits: Float32) -> int:
    """Return the id of the greatest logit: first of equals, never NaN, 0 if none is above -infinity (SA-1)."""
    return int(np.argmax(np.where(np.isnan(logits), np.float32(-np.inf), logits)))


def ranked(logits: Float32, profile: Profile, among: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return all ids whose logit is a number, greatest first, ties as the profile says (SA-2): [V] -> [<= V].

    `among` are ascending ids of such logits, where only some are wanted.
    """
    ids = np.flatnonzero(~np.isnan(logits)) if among is None else among
    if profile.equal_logits == "higher id first":
        ids = ids[::-1]
    return ids[np.argsort(-logits[ids], kind="stable")]


def select(logits: Float32, top_k: int, profile: Profile) -> Selection:
    """Retain the highest min(top_k, V, 1024) logits, never NaN, in descending order: [V] -> [R] (SA-2)."""
    ids = np.flatnonzero(~np.isnan(logits))  # [<= V]
    count = min(top_k, MAX_TOP_K, ids.size)
    if count == 0:
        return Selection(ids[:0], logits[:0])
    if ids.size > 4 * count:  # sort only what can be retained; everything equal to the last one stays in the race
        edge = np.partition(logits[ids], ids.size - count)[ids.size - count]
        ids = ids[logits[ids] >= edge]
    retained = ranked(logits, profile, ids)[:count]
    return Selection(retained, logits[retained])


def temper(values: Float32, temperature: np.float32, profile: Profile) -> Float32:
    """Apply the temperature to float32 values of any shape (SA-3)."""
    with np.errstate(all="ignore"):
        if profile.temperature_scaling == "divide":
            return values / temperature
        return values * (np.float32(1) / temperature)


def weigh(selection: Selection, temperature: np.float32, profile: Profile) -> Weighing:
    """Weigh every retained candidate by expf((l - l_max) / temperature): [R] -> [R] (SA-3, SA-4)."""
    with np.errstate(all="ignore"):
        if selection.scaled is not None:
            exponents = selection.scaled - selection.scaled[0]
        else:
            exponents = temper(selection.logits - selection.logits[0], temperature, profile)
        weighing = weighed(expf(exponents))
        if profile.weights == "normalised" and weighing.usable:
            weighing = weighed(weighing.weights / weighing.total)
    return weighing


def weighed(weights: Float32) -> Weighing:
    """Sum weights in retained order: [R] -> [R] (SA-4)."""
    with np.errstate(all="ignore"):
        cumulative = np.add.accumulate(weights, dtype=np.float32)
    return Weighing(weights, cumulative, cumulative[-1])


def cut(weighing: Weighing, top_p: np.float32, profile: Profile) -> Cut:
    """Keep the shortest prefix whose cumulative weight is >= top_p * total, or > where the profile says so (SA-5)."""
    with np.errstate(all="ignore"):
        threshold = np.float32(top_p * weighing.total)
    strictly = profile.top_p_comparison == ">"
    crossing = np.flatnonzero(weighing.cumulative > threshold if strictly else weighing.cumulative >= threshold)
    if not crossing.size:  # nothing exceeds the threshold, so nothing crosses it
        return Cut(weighing.cumulative.size, threshold, weighing.cumulative[-1])
    kept = int(crossing[0]) + 1
    if profile.top_p_crossing == "drop crossing but keep one":
        kept = max(1, kept - 1)
    return Cut(kept, threshold, weighing.cumulative[kept - 1])


def pick(weighing: Weighing, cut_: Cut, unit: np.float32, profile: Profile) -> Pick:
    """Walk the kept prefix: the first candidate whose running sum lies beyond unit * mass, else the last (SA-6)."""
    with np.errstate(all="ignore"):
        point = np.float32(unit * cut_.mass)
    sums = weighing.cumulative[: cut_.kept]
    beyond = point < sums if profile.draw_comparison == "<" else point <= sums
    hits = np.flatnonzero(beyond)
    return Pick(int(hits[0]) if hits.size else cut_.kept - 1, point)
