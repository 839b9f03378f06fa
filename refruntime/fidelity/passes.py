"""Run two models over the same tokens side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.fidelity.layers import Comparer, Keeper, TensorError
from refruntime.model.forward import Transformer

Float64 = NDArray[np.float64]

PERCENTILES: Final = (50, 90, 95, 99)

ROUNDING: Final = 5e-9
"""A KL divergence that float32 rounding explains: it is about half the variance of the logits' differences, and those
of two float32 runtimes reach 1e-4."""

BANDS: Final = (
    (0.003, "as a rule q8_0 lies here: nobody will notice"),
    (0.02, "as a rule q6_k and q5_k_m lie here: hard to notice"),
    (0.06, "as a rule q4_k_m lies here: other words now and then"),
    (0.2, "as a rule q3_k_m lies here: noticeably other text"),
    (1.0, "as a rule q2_k lies here: often other text"),
    (float("inf"), "this is another model"),
)
"""Mean KL divergence in nats and what to think of it. The anchors are those that llama.cpp publishes for Llama 3 8B
against f16 in tools/perplexity/README.md: q8_0 0.0014, q6_K 0.0057, q5_K_M 0.011, q4_K_M 0.031, q3_K_M 0.10, q2_K 0.45.
"""


@dataclass(frozen=True)
class Divergence:
    """Two models on the same tokens: `kl` [T] in nats, from the first to the second; `same_top` [T]."""

    kl: Float64
    same_top: NDArray[np.bool_]
    largest_difference: float
    identical: bool

    @property
    def mean(self) -> float:
        """Return the mean KL divergence in nats."""
        return float(self.kl.mean())

    @property
    def percentiles(self) -> dict[int, float]:
        """Return percentile -> KL divergence in nats."""
        return {percent: float(np.percentile(self.kl, percent)) for percent in PERCENTILES}

    @property
    def worst(self) -> int:
        """Return the position with the largest divergence."""
        return int(np.argmax(self.kl))

    @property
    def band(self) -> str:
        """Say in plain words what the mean divergence means."""
        if self.identical:
            return "bit for bit the same logits"
        if np.isnan(self.mean):
            return "some logits are not numbers"
        if self.kl.max() <= ROUNDING:
            return "the same but for float32 rounding"
        return next(text for limit, text in BANDS if self.mean < limit or limit == float("inf"))

    def to_dict(self) -> Mapping[str, Any]:
        """Return everything as plain values."""
        return {
            "positions": int(self.kl.size),
            "kl_mean": self.mean,
            "kl_percentiles": {str(percent): value for percent, value in self.percentiles.items()},
            "kl_max": float(self.kl.max()),
            "kl_max_position": self.worst,
            "same_top_share": float(self.same_top.mean()),
            "logit_max_difference": self.largest_difference,
            "identical": self.identical,
            "band": self.band,
        }


def joined(parts: Sequence[Divergence]) -> Divergence:
    """Return the divergence of passes over consecutive tokens as one."""
    return Divergence(
        kl=np.concatenate([part.kl for part in parts]),
        same_top=np.concatenate([part.same_top for part in parts]),
        largest_difference=max(part.largest_difference for part in parts),
        identical=all(part.identical for part in parts),
    )


def diverge(first: NDArray[Any], second: NDArray[Any]) -> Divergence:
    """Compare logits [T, V] with logits [T, V]; ValueError for other shapes."""
    if first.shape != second.shape or first.ndim != 2 or not first.size:
        raise ValueError(f"logits of shape {first.shape} and {second.shape} cannot be compared; expected twice [T, V]")
    ours, theirs = _log_softmax(first), _log_softmax(second)  # [T, V]
    with np.errstate(invalid="ignore", over="ignore"):
        chances = np.exp(ours)
        terms = np.where(chances == 0, 0.0, chances * (ours - theirs))  # 0 ln 0 is 0
        kl = np.maximum(terms.sum(axis=1), 0.0)  # [T]; rounding may leave a tiny negative sum
        difference = np.abs(first.astype(np.float64) - second.astype(np.float64))
    difference[first == second] = 0.0  # equal infinities
    return Divergence(
        kl=kl,
        same_top=np.argmax(first, axis=1) == np.argmax(second, axis=1),
        largest_difference=float(difference.max()),
        identical=bool(np.array_equal(first, second)),
    )


def _log_softmax(logits: NDArray[Any]) -> Float64:
    """Return log probabilities: [T, V] -> [T, V]."""
    with np.errstate(invalid="ignore", over="ignore"):
        values = logits.astype(np.float64)
        values = values - values.max(axis=1, keepdims=True)
        logs: Float64 = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
    return logs


POSITIONS_AT_ONCE = 32
"""Positions whose intermediates are held at a time."""


@dataclass(frozen=True)
class Fidelity:
    """How far a second model lies from a first: in its logits, and in each tensor that both have."""

    divergence: Divergence
    tensors: tuple[TensorError, ...]

    @property
    def layers(self) -> dict[int, TensorError]:
        """Return layer -> the tensor of that layer whose mean error is largest."""
        worst: dict[int, TensorError] = {}
        for error in self.tensors:
            layer = error.layer
            if layer is not None and (layer not in worst or not error.mean <= worst[layer].mean):
                worst[layer] = error
        return worst


def compare_models(
    first: Transformer, second: Transformer, ids: Sequence[int], after: Callable[[int], object] | None = None
) -> Fidelity:
    """Forward `ids` through both and compare logits and intermediates; `after` hears how many positions are done.

    The caller keeps the ids below both vocabularies, which have one size, and their number within both capacities.
    """
    caches = first.new_cache(), second.new_cache()
    keeper = Keeper()
    comparer = Comparer(keeper)
    parts = []
    for begin in range(0, len(ids), POSITIONS_AT_ONCE):
        part = list(ids[begin : begin + POSITIONS_AT_ONCE])
        keeper.kept.clear()
        ours = first.forward(part, caches[0], first_logit=0, tracer=keeper)  # [n, V]
        theirs = second.forward(part, caches[1], first_logit=0, tracer=comparer)  # [n, V]
        parts.append(diverge(ours, theirs))
        if after is not None:
            after(len(part))
    return Fidelity(joined(parts), tuple(comparer.errors()))
