"""What a profile may compute in one go: one position of a model that has nothing but the plainest of layers.

A small model decodes in less time than it takes Python to ask for its operations one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from refruntime.numerics.rotary import Rotary

Array = NDArray[Any]


class PlainLayer(NamedTuple):
    """Weights of a layer: attention, then a gated feed-forward block with SiLU, each behind a root mean square norm.

    Norms are [H]; the rest are matrices as the profile stores them, side by side in the order of their outputs.
    """

    attention_norm: Array
    qkv: tuple[Any, ...]
    attention_output: tuple[Any, ...]
    feed_forward_norm: Array
    gate_and_up: tuple[Any, ...]
    down: tuple[Any, ...]


class PlainModel(NamedTuple):
    """A model of such layers; adjacent pairs of every head are rotated, scores are scaled by 1 / sqrt(D)."""

    layers: tuple[PlainLayer, ...]
    output_norm: Array
    output: tuple[Any, ...]
    rotary: Rotary
    epsilon: float
    heads: int
    kv_heads: int
    head_dim: int
    ffn_size: int
    vocab_size: int


Step = Callable[[Array, Array, Array, int], Array]
"""Take the embedding of a token [H], keys [L, D, K, P], values [L, P, K, D] and its position.

Keys and values of the position are stored there, for which there is room. Returns its logits [1, V].
"""
