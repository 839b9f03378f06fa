"""The stages that other runtimes build their samplers from, as pure functions over float32 arrays.

A stage takes candidates and gives those that are left, in the order in which that runtime goes on with them. What a
runtime leaves open, such as the order of equal logits in an unstable sort, is decided here as lower id first.
Exponentials are those of glibc's `expf` in all but a few results: computed in float64 and rounded once.

Letters: V vocabulary, R candidates that are left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """What is left: `ids` int64 [R], `logits` float32 [R], and after a softmax the weights that it gave, float32 [R].

    `descending` says that the runtime has sorted them, which some stages ask.
    """

    ids: NDArray[np.int64]
    logits: Float32
    weights: Float32 | None = None
    descending: bool = False

    @classmethod
    def of(cls, logits: Float32) -> Candidates:
        """Return every token as a candidate, by id: [V]."""
        return cls(np.arange(logits.size), logits)

    def at(self, places: NDArray[np.int64], descending: bool | None = None) -> Candidates:
        """Return the candidates at these places, in this order."""
        weights = None if self.weights is None else self.weights[places]
        order = self.descending if descending is None else descending
        return Candidates(self.ids[places], self.logits[places], weights, order)

    @property
    def weighed(self) -> Float32:
        """Return the weights. ValueError before a softmax."""
        if self.weights is None:
            raise ValueError("a stage asks for weights before there was a softmax")
        return self.weights


# Arithmetic ----------------------------------------------------------------------------------------------------------


def exponential(values: Float32) -> Float32:
    """Return e^x, computed in float64 and rounded once: [R] -> [R]."""
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(values.astype(np.float64)).astype(np.float32)


def sequential_sum(values: Float32) -> np.float32:
    """Return the float32 sum in order."""
    return np.float32(np.add.accumulate(values, dtype=np.float32)[-1])


def _greatest_first(values: Float32) -> NDArray[np.int64]:
    return np.argsort(-values, kind="stable")


# One token -----------------------------------------------------------------------------------------------------------


def first_greatest(candidates: Candidates) -> Candidates:
    """Keep the greatest logit, of equals the first."""
    return candidates.at(np.array([int(np.argmax(candidates.logits))]))


def last_greatest(candidates: Candidates) -> Candidates:
    """Keep the greatest logit, of equals the last (Rust's `max_by`)."""
    return candidates.at(np.array([candidates.logits.size - 1 - int(np.argmax(candidates.logits[::-1]))]))


def others_impossible(candidates: Candidates) -> Candidates:
    """Keep all, but give every logit except the first greatest one -infinity (llama.cpp at temperature 0)."""
    logits = np.full_like(candidates.logits, -np.inf)
    best = int(np.argmax(candidates.logits))
    logits[best] = candidates.logits[best]
    return replace(candidates, logits=logits)


# Temperature and softmax ---------------------------------------------------------------------------------------------


def divide(candidates: Candidates, temperature: float) -> Candidates:
    """Divide the logits by the temperature, rounded to float32 before."""
    with np.errstate(over="ignore"):
        return replace(candidates, logits=candidates.logits / np.float32(temperature))


def multiply_by_reciprocal(candidates: Candidates, temperature: float) -> Candidates:
    """Multiply the logits by the reciprocal of the temperature, made in float64 and rounded to float32 (candle)."""
    with np.errstate(over="ignore"):
        return replace(candidates, logits=candidates.logits * np.float32(1.0 / temperature))


def softmax(candidates: Candidates) -> Candidates:
    """Weigh by e^(logit - greatest), divided by the float32 sum in order: weights sum to about 1."""
    powers = exponential(candidates.logits - candidates.logits.max())
    return replace(candidates, weights=powers / sequential_sum(powers))


def softmax_of_exact_sum(candidates: Candidates) -> Candidates:
    """Weigh as `softmax`, with a sum that is rounded once (for runtimes that add in vectors, in an order of theirs)."""
    powers = exponential(candidates.logits - candidates.logits.max())
    return replace(candidates, weights=powers / np.float32(powers.sum(dtype=np.float64)))


def powers(candidates: Candidates) -> Candidates:
    """Weigh by e^(logit - greatest) and leave the sum to the draw (llama.cpp's `dist`)."""
    return replace(candidates, weights=exponential(candidates.logits - candidates.logits.max()))


# Top-k ---------------------------------------------------------------------------------------------------------------


def sort_and_keep(candidates: Candidates, top_k: int) -> Candidates:
    """Keep the `top_k` greatest logits, sorted; 0 leaves all as they are (llama.cpp)."""
    if top_k <= 0:
        return candidates
    if candidates.descending:
        return candidates.at(np.arange(min(top_k, candidates.ids.size)))
    return candidates.at(_greatest_first(candidates.logits)[:top_k], descending=True)


def keep_not_below(candidates: Candidates, top_k: int) -> Candidates:
    """Keep what is not below the `top_k`-th greatest logit: equals at the edge all stay (transformers)."""
    if top_k <= 0:
        return candidates
    edge = np.sort(candidates.logits)[-min(top_k, candidates.logits.size)]
    return candidates.at(np.flatnonzero(candidates.logits >= edge))


def keep_greatest_weights(candidates: Candidates, top_k: int) -> Candidates:
    """Keep the `top_k` greatest weights, sorted, without making them sum to 1 again (candle)."""
    if not 0 < top_k < candidates.ids.size:
        return candidates
    return candidates.at(_greatest_first(candidates.weighed)[:top_k], descending=True)


def clear_smaller_weights(candidates: Candidates, top_k: int) -> Candidates:
    """Keep the `top_k` greatest weights by id, without making them sum to 1 again (mistral.rs)."""
    if not 0 < top_k < candidates.ids.size:
        return candidates
    return candidates.at(np.sort(_greatest_first(candidates.weighed)[:top_k]))


# Top-p ---------------------------------------------------------------------------------------------------------------


def sort_and_keep_mass(candidates: Candidates, top_p: float) -> Candidates:
    """Keep the shortest sorted prefix whose running float32 sum of the softmax is >= top_p (llama.cpp).

    The softmax is over what is left and its sum in the order before sorting. From 1 on, all stay as they are.
    """
    share = np.float32(top_p)
    if share >= 1:
        return candidates
    weighed = softmax(candidates)
    if not weighed.descending:
        weighed = weighed.at(_greatest_first(weighed.logits), descending=True)
    running = np.add.accumulate(weighed.weighed, dtype=np.float32)
    reached = np.flatnonzero(running >= share)
    count = int(reached[0]) + 1 if reached.size else running.size
    return replace(weighed.at(np.arange(count)), weights=None)


def drop_lower_mass(candidates: Candidates, top_p: float) -> Candidates:
    """Drop, from the least likely on, what has a running sum <= 1 - top_p; one stays (transformers).

    The sum runs in float64 over float32 weights, each partial sum rounded to float32 for the comparison. Of equals the
    lower id is dropped first.
    """
    if top_p >= 1:
        return candidates
    weighed = softmax_of_exact_sum(candidates)
    ascending = np.argsort(weighed.logits, kind="stable")
    running = np.cumsum(weighed.weighed[ascending], dtype=np.float64).astype(np.float32)
    dropped = running <= np.float32(1.0 - top_p)
    dropped[-1] = False
    return replace(weighed.at(np.sort(ascending[~dropped])), weights=None)


def clear_beyond_mass(candidates: Candidates, top_p: float, of_the_rest: bool = False) -> Candidates:
    """Keep, from the most likely on, what begins below `top_p`, by running float32 sums; the order stays (candle).

    The weights need not sum to 1: after top-k a share of the whole vocabulary is meant, with `of_the_rest` a share of
    what is left (mistral.rs). Outside of (0, 1) nothing is cut.
    """
    share = np.float32(top_p)
    if not 0 < top_p < 1:
        return candidates
    weights = candidates.weighed
    order = _greatest_first(weights)
    if of_the_rest:
        share = np.float32(share * sequential_sum(weights[order]))
    before = np.concatenate([np.zeros(1, np.float32), np.add.accumulate(weights[order], dtype=np.float32)[:-1]])
    return candidates.at(np.sort(order[before < share]))


def clear_beyond_mass_of_kept(candidates: Candidates, top_p: float, vocabulary: int) -> Candidates:
    """Do as `clear_beyond_mass`, but cut nothing if top-k left less than `top_p` altogether (candle)."""
    cut = candidates.ids.size < vocabulary
    if cut and np.float32(top_p) >= sequential_sum(candidates.weighed):
        return candidates
    return clear_beyond_mass(candidates, top_p)


# Min-p ---------------------------------------------------------------------------------------------------------------


def keep_near_logits(candidates: Candidates, min_p: float) -> Candidates:
    """Keep logits that are not below the greatest plus log(min_p), all in float32 (llama.cpp)."""
    share = np.float32(min_p)
    if share <= 0:
        return candidates
    edge = np.float32(candidates.logits.max() + np.float32(np.log(np.float64(share))))
    kept = candidates.logits >= edge
    kept[int(np.argmax(candidates.logits))] = True
    return candidates.at(np.flatnonzero(kept))


def keep_near_weights(candidates: Candidates, min_p: float) -> Candidates:
    """Keep what has at least `min_p` times the greatest weight of the softmax over what is left (transformers)."""
    if min_p <= 0:
        return candidates
    weighed = softmax_of_exact_sum(candidates)
    edge = np.float32(np.float32(min_p) * weighed.weighed.max())
    kept = weighed.weighed >= edge
    kept[int(np.argmax(weighed.weighed))] = True
    return replace(weighed.at(np.flatnonzero(kept)), weights=None)


def clear_far_weights(candidates: Candidates, min_p: float) -> Candidates:
    """Keep what has more than `min_p` times the greatest weight (mistral.rs); outside of (0, 1) nothing is cut."""
    if not 0 < min_p < 1:
        return candidates
    edge = np.float32(candidates.weighed.max() * np.float32(min_p))
    return candidates.at(np.flatnonzero(candidates.weighed > edge))
