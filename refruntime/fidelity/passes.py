"""Run two models over the same tokens side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refruntime.fidelity.divergence import Divergence, diverge, joined
from refruntime.fidelity.layers import Comparer, Keeper, TensorError
from refruntime.model.forward import Transformer

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
