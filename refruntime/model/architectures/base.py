"""Describe one architecture: named choices among the blocks that `refruntime.model.forward` puts together.

A description also settles which tensors a file must hold (`refruntime.model.layout`) and which
hyper-parameter keys it may hold (`refruntime.model.gguf.hyperparameters`). Names, defaults and formulas follow
llama.cpp, whose GGUF files these are: its `src/llama-arch.cpp` and `src/models/*.cpp`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Presence = Literal["absent", "optional", "required"]

ABSENT: Final[Presence] = "absent"
OPTIONAL: Final[Presence] = "optional"
REQUIRED: Final[Presence] = "required"

WITHOUT_EFFECT: Final = frozenset({"rope.scaling.finetuned", "tensor_data_layout"})
"""Keys that llama.cpp does not read: they tell how a model was made."""


@dataclass(frozen=True)
class Architecture:
    """What one architecture is made of. The defaults make a plain llama, so a description lists its differences.

    A layer is `x += attention(norm(x))`, then `x += feed_forward(norm(x))`; sizes and factors are hyper-parameters.
    """

    name: str

    # Embedding: rows of a table, times sqrt(H) where `embedding_times_root` says so, plus `learned` positions.
    embedding_times_root: bool = False
    positions: Literal["rotary", "learned"] = "rotary"

    # Rotary embedding: pairs (2i, 2i + 1) or (i, i + n/2) of the n rotated numbers of a head (all of them, or as many
    # as the key rope.dimension_count says); factors of a tensor divide the angles; every so many layers rotate nothing.
    rope_pairs: Literal["adjacent", "halves"] = "adjacent"
    rope_partial: bool = False
    rope_switched: bool = False  # the key rope.scaling.finetuned switches the rotary embedding off
    rope_factors: Literal["none", "one set", "long and short"] = "none"
    rope_skipped_every: int = 0
    yarn_range: Literal["whole pairs", "exact"] = "whole pairs"
    rope_of_windows_only: bool = False  # where some layers have a window, the others rotate nothing

    # Norms: RMSNorm, or LayerNorm with or without its vectors; before each block, behind each block, and of queries
    # and keys, either each head on its own or the whole row.
    norm: Literal["rms", "layer"] = "rms"
    norm_weight: bool = True
    norm_bias: bool = False
    norm_before: bool = True
    norm_behind: bool = False
    norm_of_queries_and_keys: Literal["none", "head", "row"] = "none"
    heads_normalised_behind_rope: bool = False
    ffn_norm: str = "ffn_norm"
    norms_behind: tuple[str, str] = ("post_attention_norm", "post_ffw_norm")
    output_norm: str = "output_norm"

    # Attention: three matrices or a fused one; in windowed layers a position sees the last `sliding_window` ones. Of
    # `window_period` layers the last one has no window, unless the file says otherwise; 0: the architecture knows none.
    qkv_fused: Literal["possible", "always"] = "possible"
    qkv_bias: Presence = OPTIONAL
    attention_output_bias: Presence = ABSENT
    window_period: int = 0
    windows_with_layers: int = 0  # only a model of that many layers has windows; 0: every one
    window_rope_scaled: bool = True
    attention_sinks: bool = False
    values_normalised: bool = False  # each head of values, without a weight
    layers_differ: bool = False  # in heads and feed-forward size; the last ones may share keys and values
    queries_scaled: bool = False  # instead of scores
    attention_gated: bool = False  # queries come with a gate of the same size, whose sigmoid multiplies what is mixed
    layers_scaled_by_hidden_size: int = 0  # with that many layers the scale is 1 / sqrt(H / heads), not 1 / sqrt(D)

    # Feed-forward: W2(activation(W1 h) * (W3 h)), without W3, or the same for the best of several experts. In a
    # parallel layer it reads the layer's input, by its own norm or by the one that attention reads.
    feed_forward: Literal["gated", "gate and up fused", "plain", "experts"] = "gated"
    feed_forward_bias: Presence = ABSENT
    activation: Literal["silu", "gelu tanh", "gelu erf", "relu squared", "silu clamped"] = "silu"
    expert_gating: Literal["softmax", "softmax of the chosen", "key"] = "softmax"
    expert_bias: Presence = ABSENT
    expert_choice_biased: bool = False
    experts_renormalised: bool = False
    share_sum: Literal["at least 2^-14", "plus 1e-6"] = "at least 2^-14"  # by which shares are divided then
    experts_fused: Literal["never", "possible"] = "never"  # gate and up of all experts in one stack
    shared_expert: Literal["none", "plain", "gated"] = "none"
    experts_beside: bool = False  # where there are experts, they work beside the dense block, each behind own norms
    parallel: Literal["never", "always", "key", "without ffn_norm"] = "never"
    parallel_norm: Literal["shared", "own"] = "shared"
    parallel_sum: Literal["input first", "attention last", "input last"] = "input first"  # matters in ggml32 alone

    # Other mixers: what a layer holds instead of attention. Which layers do is said by their key/value heads, of which
    # they have none; with an interval by a key, or by the interval: the last of so many layers attends.
    other_mixer: Literal["none", "convolution", "state space", "delta net"] = "none"
    attention_interval: int = 0

    # Behind a layer: what a table holds for its token enters every layer once more; a scale of the layer.
    layer_inputs: bool = False

    # Output: its own matrix or the embeddings; logits times or divided by the key logit_scale.
    output: Presence = OPTIONAL
    output_bias: Presence = ABSENT
    logit_scale: Literal["none", "multiply", "divide"] = "none"
    scales_by_size: bool = False  # factors of residuals and logits that a file leaves out follow from its sizes

    keys: frozenset[str] = frozenset()
    """Hyper-parameter keys that this architecture understands beyond those of every one, without its name in front."""

    defaults: Mapping[str, float] = field(default_factory=dict)
    """Values of keys that a file may leave out, where llama.cpp's is not the neutral one."""

    ignored_keys: frozenset[str] = WITHOUT_EFFECT
    """Keys that say nothing about the arithmetic of this architecture."""
