"""What a negative control over the random models is made of: one thing that a wrong runtime does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tests.second_opinion import float64_blocks as blocks
from tests.second_opinion.float64_blocks import Array, Complex, Weights
from tests.second_opinion.random_model import HIDDEN

Change = Callable[[Array], Array]


@dataclass(frozen=True)
class Control:
    """`model` of the random zoo computed with `keys` and `tensors` changed, or with other building `blocks`.

    A tensor that changes into None is missing. `like` names the architecture whose formulas are used instead.
    """

    model: str
    wrong: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Change | None] = field(default_factory=dict)
    blocks: Mapping[str, Callable[..., Array]] = field(default_factory=dict)
    like: str = ""

    def altered(self, weights: Weights) -> Weights:
        """Return the weights as the wrong runtime reads them; KeyError for a tensor that does not exist."""
        metadata = dict(weights.metadata)
        metadata.update({f"{weights.architecture}.{name}": value for name, value in self.keys.items()})
        tensors = dict(weights.tensors)
        for name, change in self.tensors.items():
            old = tensors.pop(name)
            if change is not None:
                tensors[name] = change(old)
        return replace(weights, metadata=metadata, tensors=tensors)


def zeros(array: Array) -> Array:
    return np.zeros_like(array)


def ones(array: Array) -> Array:
    return np.ones_like(array)


def less_one(array: Array) -> Array:
    return array - 1


def swapped_halves(array: Array) -> Array:  # rows, or values of a vector
    return np.roll(array, len(array) // 2, axis=0)


def one_further(array: Array) -> Array:
    return np.roll(array, 1, axis=0)


def flipped_kernel(array: Array) -> Array:
    return array[:, ::-1]


def swapped_gates(array: Array) -> Array:  # [3 H, H]
    """Take the part that gates before the convolution for the one that gates after it."""
    return np.concatenate([array[HIDDEN : 2 * HIDDEN], array[:HIDDEN], array[2 * HIDDEN :]])


def other_attention(**wrong: Any) -> Callable[..., Array]:
    """Attend with other settings than asked for."""

    def attend(q: Array, k: Array, v: Array, **settings: Any) -> Array:
        return blocks.attend(q, k, v, **{**settings, **wrong})

    return attend


def other_sharing(q: Array, k: Array, v: Array, **settings: Any) -> Array:
    """Give query head n the key/value head n modulo K instead of n / (N / K)."""
    order = np.arange(len(q)) % len(k)
    return blocks.attend(q, k[order], v[order], **settings)


def other_renormalisation(layer: Weights, h: Array, used: int, renormalise: bool) -> Array:
    return blocks.experts(layer, h, used, not renormalise)


def not_rotated(x: Array, turn: Complex) -> Array:
    return x


def not_centred(x: Array, epsilon: float, weight: Array | float = 1.0, bias: Array | float = 0.0) -> Array:
    """Norm by the root of the mean square instead of by the deviation from the mean."""
    return blocks.rms_norm(x, np.asarray(weight), epsilon) + bias


def feed_forward_with(activation: Change) -> Callable[..., Array]:
    """Run a feed-forward without a gate with another activation than asked for."""

    def feed_forward(layer: Weights, h: Array, _: Change) -> Array:
        return layer.linear("ffn_down", activation(layer.linear("ffn_up", h)))

    return feed_forward


ADJACENT = {"rotate_halves": blocks.rotate_adjacent}
HALVES = {"rotate_adjacent": blocks.rotate_halves}
RMS_EPSILON = {"attention.layer_norm_rms_epsilon": 3.3e-3}
EPSILON = {"attention.layer_norm_epsilon": 3.3e-3}
