"""The one validated model behind which every container disappears."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from refruntime.model.architectures.base import Architecture
from refruntime.model.architectures.llama import LLAMA
from refruntime.numerics.rotary import RopeScaling
from refruntime.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Hyperparameters:
    """Dimensions and constants of the arithmetic, as the container gives them.

    `max_context` is the capacity in positions (GG-7 for GGUF). `rope_theta` and `rms_norm_epsilon` are values that
    a float32 represents exactly; the epsilon is that of every norm, LayerNorm included. What follows `rope_scaling` is
    neutral in llama and SLM1; which of it an architecture has is said by its description.
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
    rope_theta: float
    rms_norm_epsilon: float
    rope_scaling: RopeScaling | None = None

    rotated_dim: int | None = None  # numbers of a head that are rotated; None: all
    rope_magnitude: float = 1.0  # factor of cosines and sines
    original_context: int = 0  # a capacity beyond this takes the long rotary factors
    learned_positions: int = 0  # rows of the table of position embeddings
    embedding_scale: float = 1.0
    residual_scale: float = 1.0  # factor of what each block adds to the residual stream
    logit_scale: float = 1.0
    attention_scale: float = 0.0  # factor of the scores; 0: 1 / sqrt(attention_scale_dim)
    attention_scale_dim: int = 0  # 0: head_dim
    query_growth: float = 0.0  # factor of ln(1 + position // query_growth_length) by which queries grow; 0: none
    query_growth_length: int = 0
    attention_softcap: float = 0.0  # 0: none
    logit_softcap: float = 0.0  # 0: none
    qkv_clamp: float = 0.0  # 0: none
    sliding_window: int = 0  # positions that a windowed layer sees; 0: no layer is windowed
    window_period: int = 0  # the last layer of so many has no window; 0: every layer is windowed
    windowed_layers: tuple[int, ...] | None = None  # where the file lists them; None: `window_period` decides
    window_rope_theta: float | None = None  # rotary base of windowed layers; None: rope_theta
    parallel: bool = False  # the feed-forward block reads the input of the layer
    expert_count: int = 0
    expert_used_count: int = 0
    expert_ffn_size: int = 0
    expert_gating: str = "softmax"  # softmax, sigmoid, softmax of the chosen
    dense_layers: int = 0  # the first so many layers have no experts
    attention_layers: tuple[int, ...] | None = None  # the others hold another mixer; None: all attend
    attention_interval: int = 0  # the last of so many layers attends; 0: see attention_layers
    convolution_length: int = 0  # positions that a short convolution reads, its own included
    state_size: int = 0  # numbers of a recurrent state for each number of a head
    state_heads: int = 0
    state_groups: int = 0  # heads of keys (B and C), which state heads share
    state_inner_size: int = 0  # numbers of all state heads
    shared_ffn_size: int = 0  # of the expert that every position takes
    rotates: bool = True
    window_head_dim: int = 0  # of layers with a window; 0: head_dim
    kv_heads_of_layers: tuple[int, ...] | None = None  # None: kv_head_count in each
    ffn_sizes: tuple[int, ...] | None = None  # None: ffn_size in each
    sharing_layers: int = 0  # the last so many layers use keys and values of earlier ones
    layer_input_size: int = 0  # numbers that enter each layer for each token; 0: none
    drafting_layers: int = 0  # behind the others in the file; a forward pass leaves them out
    text_kinds: int = 0  # rows of the table of kinds of text in an encoder
    pooling: str = "none"  # what an encoder makes of its rows: none, mean, cls, last

    @property
    def recurrent_channels(self) -> int:
        """Return the numbers of a position that a recurrent layer convolves."""
        return self.state_inner_size + 2 * self.state_groups * self.state_size

    @property
    def recurrent_width(self) -> int:
        """Return the numbers of a position that a recurrent state takes in."""
        return self.recurrent_channels + 2 * self.state_heads

    @property
    def query_size(self) -> int:
        """Return the numbers of all query heads: A * D."""
        return self.head_count * self.head_dim

    @property
    def key_size(self) -> int:
        """Return the numbers of all key heads, which is that of all value heads: K * D."""
        return self.kv_head_count * self.head_dim

    def attends(self, layer: int) -> bool:
        """Say whether a layer mixes by attention."""
        if self.attention_interval:
            return layer % self.attention_interval == self.attention_interval - 1
        return self.attention_layers is None or layer in self.attention_layers

    def head_dim_of(self, layer: int) -> int:
        """Return the size of the heads of a layer."""
        return self.window_head_dim if self.window_head_dim and self.window(layer) else self.head_dim

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
        if self.windowed_layers is not None:
            return self.sliding_window if layer in self.windowed_layers else 0
        if self.window_period and layer % self.window_period == self.window_period - 1:
            return 0
        return self.sliding_window


class QuantizedRows(NamedTuple):
    """A quantised matrix before its scales are applied, for the options of FW-4.

    `values` int8 [out, in]; `scales` float32 [out, in / block_size].
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]
    block_size: int


class WeightSource(Protocol):
    """One tensor of a container, decoded on demand."""

    @property
    def name(self) -> str:
        """Return the name that the container uses."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the row-major shape: [out, in] for a matrix, [n] for a vector."""

    @property
    def type_name(self) -> str:
        """Return the lower-case name of the stored type, such as `q8_0`."""

    @property
    def storage(self) -> Hashable:
        """Return what two tensors have in common when they name the same bytes in the same way; None: nothing."""

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return the dequantised float32 values, in `shape` (FW-1, GG-8), or rows `start` .. `stop` - 1 of a matrix."""

    def quantized(self) -> QuantizedRows | None:
        """Return the values and scales of an SLM1 q8_0 or q4_0 matrix, None for any other tensor (FW-4)."""


@dataclass(frozen=True)
class ValidatedModel:
    """A model that passed every check of its container.

    `tensors` uses one set of names for all containers, those of GGUF; which there are, and their shapes, is what
    `refruntime.model.layout` says. For llama: `token_embd.weight` [V, H], `output_norm.weight` [H],
    `output.weight` [V, H] (absent when the embeddings are used), `rope_freqs.weight` [D / 2] (optional), and for each
    layer `blk.N.` + `attn_norm.weight`, `attn_q.weight`, `attn_k.weight`, `attn_v.weight`, `attn_output.weight`,
    `ffn_norm.weight`, `ffn_gate.weight`, `ffn_up.weight`, `ffn_down.weight`.
    """

    container: str
    hyperparameters: Hyperparameters
    tensors: Mapping[str, WeightSource]
    tokenizer: Tokenizer
    quantization: str
    architecture: Architecture = LLAMA
