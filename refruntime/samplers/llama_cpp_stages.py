"""The stages of llama.cpp's samplers beyond top-k, top-p and min-p, in its float32 arithmetic.

Penalties, DRY, top-n-sigma, typical, dynamic temperature, XTC, Mirostat 1 and 2. What draws a number takes it as an
input. Source: llama.cpp `src/llama-sampler.cpp`; exponentials and logarithms are glibc's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from refruntime.numerics.ggml32.c_library import LIBRARIES
from refruntime.numerics.ggml32.c_logarithms import logarithm, power
from refruntime.samplers.chain import SamplerError
from refruntime.samplers.stages import Candidates, Float32, divide, others_impossible, sort_and_keep

LOG_OF_GREATEST: Final = np.float32(88.7228391)
MIROSTAT_TOKENS: Final = 100
"""Most probable tokens that Mirostat 1 estimates the tail from, where nothing else is asked."""


def _sum(values: Float32) -> np.float32:
    """Return the float32 sum in order from 0.0."""
    return np.float32(np.add.accumulate(values, dtype=np.float32)[-1]) if values.size else np.float32(0)


def sorted_softmax(candidates: Candidates) -> Candidates:
    """Sort by logits unless that was done, and weigh: e^(logit - greatest) / float32 sum in order."""
    if not candidates.descending:
        candidates = candidates.at(np.argsort(-candidates.logits, kind="stable"), descending=True)
    exponentials = LIBRARIES["glibc"].exp(candidates.logits - candidates.logits[0])
    return replace(candidates, weights=exponentials / _sum(exponentials))


def penalise(
    candidates: Candidates, history: Sequence[int], last: int, repeat: float, frequency: float, presence: float
) -> Candidates:
    """Lower the logits of tokens among the `last` ones of the history: by a factor, by their count, by being there."""
    if last <= 0 or (repeat == 1 and frequency == 0 and presence == 0):
        return candidates
    counts = Counter(history[-last:])
    logits = candidates.logits.copy()
    factor, each, once = np.float32(repeat), np.float32(frequency), np.float32(presence)
    for place, token in enumerate(candidates.ids.tolist()):
        if counts[token]:
            lowered = logits[place] * factor if logits[place] <= 0 else logits[place] / factor
            logits[place] = lowered - (np.float32(counts[token]) * each + once)
    return replace(candidates, logits=logits, descending=False)


def dry(
    candidates: Candidates,
    history: Sequence[int],
    multiplier: float,
    base: float,
    allowed: int,
    last: int,
    breakers: frozenset[int] = frozenset(),
) -> Candidates:
    """Lower tokens that would lengthen a repetition: multiplier * base^(length - allowed).

    Of the `last` tokens of the history, from its end on, only what follows the last breaker counts; breakers are single
    tokens here, and are never lowered.
    """
    recent = list(history[-last:]) if last > 0 else []
    if multiplier == 0 or base < 1 or len(recent) <= allowed:
        return candidates
    limit = next((back for back, token in enumerate(reversed(recent)) if token in breakers), len(recent))
    if limit < allowed:
        return candidates
    longest: dict[int, int] = {}
    for end in range(len(recent) - 1):  # a repetition that ends here would go on with the token behind
        length = 0
        while length <= end and recent[end - length] == recent[len(recent) - 1 - length]:
            length += 1
        length = min(length, limit)
        if length >= allowed:
            token = recent[end + 1]
            longest[token] = max(longest.get(token, 0), length)
    most = int(LOG_OF_GREATEST / logarithm(np.float32(base))) if np.float32(base) > np.float32(1.000001) else 0
    logits = candidates.logits.copy()
    for place, token in enumerate(candidates.ids.tolist()):
        if token in longest and token not in breakers:
            exponent = longest[token] - allowed
            exponent = min(exponent, most) if most > 0 else exponent
            logits[place] -= np.float32(float(np.float32(multiplier)) * float(np.float32(base)) ** exponent)
    return replace(candidates, logits=logits, descending=False)


def keep_within_sigmas(candidates: Candidates, sigmas: float) -> Candidates:
    """Make logits impossible that are more than so many standard deviations below the greatest (top-n-sigma)."""
    if sigmas <= 0 or candidates.ids.size <= 1:
        return candidates
    possible = candidates.logits[candidates.logits != -np.inf]
    mean = _sum(possible) / np.float32(possible.size) if possible.size else np.float32(0)
    squares = np.float32(0)
    for difference in (possible - mean).tolist():
        squares = np.float32(float(squares) + difference * difference)
    deviation = np.sqrt(squares / np.float32(possible.size)) if possible.size else np.float32(0)
    edge = candidates.logits.max() - np.float32(sigmas) * deviation
    return replace(candidates, logits=np.where(candidates.logits < edge, np.float32(-np.inf), candidates.logits))


def keep_typical(candidates: Candidates, typical_p: float) -> Candidates:
    """Keep, from the least unusual surprise on, the shortest run whose weights exceed `typical_p`.

    SamplerError where a weight is 0, as behind top-n-sigma: llama.cpp's entropy is NaN there, and its sort undefined.
    """
    share = np.float32(typical_p)
    if share >= 1:
        return candidates
    weighed = sorted_softmax(candidates)
    if not weighed.weighed.all():
        raise SamplerError("llama.cpp does not define typical sampling where a weight is 0, as behind top-n-sigma")
    surprise = -logarithm(weighed.weighed)
    entropy = _sum(-weighed.weighed * logarithm(weighed.weighed))
    order = np.argsort(np.abs(surprise - entropy), kind="stable")
    running = np.add.accumulate(weighed.weighed[order], dtype=np.float32)
    beyond = np.flatnonzero(running > share)
    count = int(beyond[0]) + 1 if beyond.size else order.size
    return replace(weighed.at(order[:count], descending=False), weights=None)


def divide_by_entropy(candidates: Candidates, temperature: float, delta: float, exponent: float) -> Candidates:
    """Divide by a temperature within `delta` of the given one, the higher the more even the weights (dynamic)."""
    if delta <= 0:
        return _temper(candidates, np.float32(temperature))
    if candidates.ids.size <= 1:
        return candidates
    least = max(np.float32(0), np.float32(temperature) - np.float32(delta))
    most = np.float32(temperature) + np.float32(delta)
    greatest_entropy = -logarithm(np.float32(1) / np.float32(candidates.ids.size))
    weighed = sorted_softmax(candidates)
    weights = weighed.weighed[weighed.weighed > 0]
    entropy = np.float32(0)
    for term in weights * logarithm(weights):
        entropy = entropy - term
    evenness = power(entropy / greatest_entropy, np.float32(exponent))
    return replace(_temper(weighed, np.float32(least + (most - least) * evenness)), weights=None)


def _temper(candidates: Candidates, temperature: np.float32) -> Candidates:
    return others_impossible(candidates) if temperature <= 0 else divide(candidates, float(temperature))


def exclude_top_choices(candidates: Candidates, probability: float, threshold: float, unit: float) -> Candidates:
    """Drop all but the last of the tokens with at least the threshold, in a share of the cases (XTC)."""
    if probability <= 0 or threshold > 0.5 or candidates.ids.size < 2 or np.float32(unit) > np.float32(probability):
        return candidates
    weighed = sorted_softmax(candidates)
    above = weighed.weighed >= np.float32(threshold)
    count = int(np.argmin(above)) if not above.all() else above.size
    return replace(weighed.at(np.arange(max(count - 1, 0), above.size)), weights=None)


def mirostat_1(candidates: Candidates, mu: float, vocabulary: int, tokens: int = MIROSTAT_TOKENS) -> Candidates:
    """Keep as many as a tail of estimated steepness has below the surprise mu; weighed (Mirostat 1)."""
    weighed = sorted_softmax(candidates)
    count = max(0, min(tokens - 1, weighed.ids.size - 1))
    ranks = np.arange(count).astype(np.float32)
    steps = logarithm((ranks + np.float32(2)) / (ranks + np.float32(1)))
    falls = logarithm(weighed.weighed[:count] / weighed.weighed[1 : count + 1])
    steepness = _sum(steps * falls) / _sum(steps * steps)
    excess = np.float32(steepness - np.float32(1))
    above = excess * power(np.float32(2), np.float32(mu))
    below = np.float32(1) - power(np.float32(vocabulary), -excess)
    kept = float(power(above / below, np.float32(1) / steepness))
    whole = int(kept) if abs(kept) < 2**31 else 0
    return sorted_softmax(sort_and_keep(weighed, max(whole, 1)))


def mirostat_2(candidates: Candidates, mu: float) -> Candidates:
    """Keep what has a surprise of at most mu, at least one; weighed (Mirostat 2)."""
    weighed = sorted_softmax(candidates)
    surprising = np.flatnonzero(_surprises(weighed.weighed) > np.float32(mu))
    count = int(surprising[0]) if surprising.size else weighed.ids.size
    return sorted_softmax(weighed.at(np.arange(max(count, 1))))


def next_mu(mu: float, weight: float, tau: float, eta: float) -> float:
    """Return mu behind a token of this weight: mu - eta * (surprise - tau), in float32."""
    error = _surprises(np.array([weight], np.float32))[0] - np.float32(tau)
    return float(np.float32(mu) - np.float32(eta) * error)


def _surprises(weights: Float32) -> Float32:
    with np.errstate(divide="ignore"):
        return (-np.log2(weights.astype(np.float64))).astype(np.float32)
