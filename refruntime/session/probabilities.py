"""Probabilities of logits, in float64 and for people: the sampler has numbers of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> Float64:
    """Return the probabilities of logits [V] in float64; NaN has none, and of infinite logits all share alike."""
    values = logits.astype(np.float64)
    values = np.where(np.isnan(values), -np.inf, values) / temperature
    greatest = values.max()
    weights = (values == greatest).astype(np.float64) if np.isinf(greatest) else np.exp(values - greatest)
    return np.asarray(weights / weights.sum())


def entropy(probabilities: Float64) -> float:
    """Return the entropy in bits."""
    some = probabilities[probabilities > 0]
    return max(0.0, float(-(some * np.log2(some)).sum()))
