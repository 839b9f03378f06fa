"""The dimensions and constants of a model's arithmetic, grouped by what they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, TypeVar

from refruntime.numerics.rotary import RopeScaling

Group = TypeVar("Group")


@dataclass(frozen=True)
class RopeParameters:
    """Rotary position embedding; `theta` is a value that a float32 represents exactly."""

    theta: float
    scaling: RopeScaling | None = None
    rotated: int | None = None  # numbers of a head that are rotated; None: all
    magnitude: float = 1.0  # factor of cosines and sines
    original_context: int = 0  # a capacity beyond this takes the long rotary factors
    applied: bool = True


@dataclass(frozen=True)
class WindowParameters:
    """Layers that see `size` positions, their own included."""

    size: int
    layers: tuple[int, ...] | None = None  # where the file lists them; None: `period` decides
    period: int = 0  # the last layer of so many has no window; 0: every layer is windowed
    rope_theta: float | None = None  # rotary base of these layers; None: that of the others
    head_dim: int | None = None  # None: that of the others

    def holds(self, layer: int) -> bool:
        """Say whether a layer is windowed."""
        if self.layers is not None:
            return layer in self.layers
        return not self.period or layer % self.period != self.period - 1


@dataclass(frozen=True)
class ExpertParameters:
    """Feed-forward blocks of which a router chooses `used_count` of `count`, each of `ffn_size`."""

    count: int
    used_count: int
    ffn_size: int
    gating: str  # softmax, sigmoid, softmax of the chosen
    shared_ffn_size: int = 0  # of the expert that every position takes
    dense_layers: int = 0  # the first so many layers have no experts


@dataclass(frozen=True)
class ScaleParameters:
    """Factors and caps; each default changes nothing."""

    embedding: float = 1.0
    residual: float = 1.0  # factor of what each block adds to the residual stream
    logit: float = 1.0
    attention: float | None = None  # factor of the scores; None: 1 / sqrt(attention_dim)
    attention_dim: int | None = None  # None: head_dim
    query_growth: float = 0.0  # factor of ln(1 + position // query_growth_length) by which queries grow
    query_growth_length: int = 0
    attention_softcap: float = 0.0  # 0: none
    logit_softcap: float = 0.0  # 0: none
    qkv_clamp: float = 0.0  # 0: none


@dataclass(frozen=True)
class RecurrentParameters:
    """Layers that mix by a short convolution, a state space or a delta net instead of attention."""

    convolution_length: int  # positions that a short convolution reads, its own included
    attention_layers: tuple[int, ...] | None = None  # those that attend; None: all, or by the interval
    attention_interval: int = 0  # the last of so many layers attends; 0: see `attention_layers`
    state_size: int = 0  # numbers of a recurrent state for each number of a head
    heads: int = 0
    groups: int = 0  # heads of keys (B and C), which state heads share
    inner_size: int = 0  # numbers of all state heads

    @property
    def channels(self) -> int:
        """Return the numbers of a position that a recurrent layer convolves."""
        return self.inner_size + 2 * self.groups * self.state_size

    @property
    def width(self) -> int:
        """Return the numbers of a position that a recurrent state takes in."""
        return self.channels + 2 * self.heads

    def attends(self, layer: int) -> bool:
        """Say whether a layer attends all the same."""
        if self.attention_interval:
            return layer % self.attention_interval == self.attention_interval - 1
        return self.attention_layers is None or layer in self.attention_layers


@dataclass(frozen=True)
class EncoderParameters:
    """What an encoder has that a decoder lacks."""

    text_kinds: int  # rows of the table of kinds of text
    pooling: str  # what it makes of its rows: none, mean, cls, last


@dataclass(frozen=True)
class Hyperparameters:
    """Dimensions and constants of the arithmetic, as the container gives them; a group that a model lacks is None.

    `max_context` is the capacity in positions (GG-7 for GGUF). `rms_norm_epsilon` is a value that a float32 represents
    exactly; it is that of every norm, LayerNorm included. What follows `rope` is neutral in llama and SLM1; which of it
    an architecture has is said by its description.
    """

    architecture: str
    vocab_size: int
    hidden_size: int
    layer_count: int
    head_count: int
    kv_head_count: int
    head_dim: int
    ffn_size: int
    max_context: int
    rms_norm_epsilon: float
    rope: RopeParameters

    scales: ScaleParameters = ScaleParameters()
    windows: WindowParameters | None = None
    experts: ExpertParameters | None = None
    recurrent: RecurrentParameters | None = None
    encoder: EncoderParameters | None = None
    learned_positions: int = 0  # rows of the table of position embeddings
    parallel: bool = False  # the feed-forward block reads the input of the layer
    kv_heads_of_layers: tuple[int, ...] | None = None  # None: kv_head_count in each
    ffn_sizes: tuple[int, ...] | None = None  # None: ffn_size in each
    sharing_layers: int = 0  # the last so many layers use keys and values of earlier ones
    layer_input_size: int = 0  # numbers that enter each layer for each token; 0: none
    drafting_layers: int = 0  # behind the others in the file; a forward pass leaves them out

    @property
    def rotated(self) -> int:
        """Return how many numbers of a head are rotated."""
        return self.rope.rotated or self.head_dim

    def attends(self, layer: int) -> bool:
        """Say whether a layer mixes by attention."""
        return self.recurrent is None or self.recurrent.attends(layer)

    def head_dim_of(self, layer: int) -> int:
        """Return the size of the heads of a layer."""
        windows = self.windows
        return windows.head_dim if windows and windows.head_dim and windows.holds(layer) else self.head_dim

    def kv_heads_of(self, layer: int) -> int:
        """Return the key/value heads of a layer."""
        return self.kv_head_count if self.kv_heads_of_layers is None else self.kv_heads_of_layers[layer]

    def ffn_of(self, layer: int) -> int:
        """Return the size of the feed-forward block of a layer."""
        return self.ffn_size if self.ffn_sizes is None else self.ffn_sizes[layer]

    def keys_from(self, layer: int) -> int:
        """Return the layer whose keys and values a layer uses: its own, or the last one or two that have some."""
        first_sharing = self.layer_count - self.sharing_layers
        if layer < first_sharing:
            return layer
        return first_sharing - (2 if self.window(layer) else 1)

    def window(self, layer: int) -> int:
        """Return how many positions a layer sees, its own included; 0 for all."""
        return self.windows.size if self.windows is not None and self.windows.holds(layer) else 0

    def named(self) -> dict[str, tuple[object, object]]:
        """Return each value by its name, such as `rope.theta`, with its neutral value; None where it has no such."""
        return dict(_named(self, ""))


def needed(group: Group | None) -> Group:
    """Return a group that the model has to have where it is asked for."""
    if group is None:
        raise ValueError("the architecture has a block whose sizes the hyper-parameters lack")
    return group


def _named(group: Any, prefix: str) -> Iterator[tuple[str, tuple[object, object]]]:
    for item in fields(group):
        value = getattr(group, item.name)
        if is_dataclass(value) and not isinstance(value, RopeScaling):
            yield from _named(value, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, (value, _neutral(item))


def _neutral(item: Field[Any]) -> object:
    return None if item.default is MISSING else item.default
