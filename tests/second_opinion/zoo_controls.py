"""One wrong formula at a time: what a comparison over the random models must notice.

A control alters the metadata or the tensors that the float64 function reads, or one of its building blocks, and thereby
describes a runtime that got this one thing wrong.
"""

from __future__ import annotations

import math
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
ERF = {"feed_forward": feed_forward_with(blocks.gelu_erf)}
RMS_EPSILON = {"attention.layer_norm_rms_epsilon": 3.3e-3}
EPSILON = {"attention.layer_norm_epsilon": 3.3e-3}

CONTROLS = [
    Control("llama", "pairs are halves apart", blocks=HALVES),
    Control("llama", "epsilon a tenth too large", keys=RMS_EPSILON),
    Control("llama", "rotary base a hundredth too large", keys={"rope.freq_base": 5050.0}),
    Control("llama", "not all of a head rotated", keys={"rope.dimension_count": 10}),
    Control("llama", "scores scaled by hidden size / heads", blocks={"attend": other_attention(scale=8**-0.5)}),
    Control("llama", "key/value heads shared in turn", blocks={"attend": other_sharing}),
    Control("llama", "embeddings as head", tensors={"output.weight": None}),
    Control("llama", "gate rows one off", tensors={"blk.1.ffn_gate.weight": one_further}),
    Control("llama-biased", "no bias in the gate", tensors={"blk.0.ffn_gate.bias": zeros}),
    Control("llama-biased", "no bias after attention", tensors={"blk.0.attn_output.bias": zeros}),
    Control("llama-tied", "norm weight left out", tensors={"blk.2.ffn_norm.weight": ones}),
    Control("llama-factors", "factors left out", tensors={"rope_freqs.weight": None}),
    Control("llama-linear", "scaling left out", keys={"rope.scaling.type": "none"}),
    Control("llama-yarn", "scaled linearly", keys={"rope.scaling.type": "linear"}),
    Control("llama-yarn", "another trained context", keys={"rope.scaling.original_context_length": 50}),
    Control("qwen2", "no bias on q", tensors={"blk.0.attn_q.bias": zeros}),
    Control("qwen2", "no bias on k", tensors={"blk.0.attn_k.bias": zeros}),
    Control("qwen2", "no bias on v", tensors={"blk.2.attn_v.bias": zeros}),
    Control("qwen2", "pairs side by side", blocks=ADJACENT),
    Control("qwen2-tied", "epsilon a tenth too large", keys=RMS_EPSILON),
    Control("qwen2-yarn", "scaled linearly", keys={"rope.scaling.type": "linear"}),
    Control("qwen3", "q not normed by its weight", tensors={"blk.1.attn_q_norm.weight": ones}),
    Control("qwen3", "k not normed by its weight", tensors={"blk.1.attn_k_norm.weight": ones}),
    Control("qwen3", "scores scaled by hidden size / heads", blocks={"attend": other_attention(scale=8**-0.5)}),
    Control("qwen3-tied", "pairs side by side", blocks=ADJACENT),
    Control("qwen3moe", "one expert more", keys={"expert_used_count": 3}),
    Control("qwen3moe", "shares not renormalised", blocks={"experts": other_renormalisation}),
    Control("qwen3moe", "experts numbered otherwise", tensors={"blk.2.ffn_gate_inp.weight": one_further}),
    Control("olmoe", "one expert less", keys={"expert_used_count": 2}),
    Control("olmoe", "shares renormalised", blocks={"experts": other_renormalisation}),
    Control("olmoe", "q normed by the weights of another head", tensors={"blk.0.attn_q_norm.weight": one_further}),
    Control("gemma", "embedding not scaled", keys={"embedding_length": 1}),
    Control("gemma", "norm weights without the 1", tensors={"blk.0.attn_norm.weight": less_one}),
    Control("gemma", "SiLU in the gate", blocks={"gelu_tanh": blocks.silu}),
    Control("gemma", "erf form of GELU", blocks={"gelu_tanh": blocks.gelu_erf}),
    Control("gemma2", "window one longer", keys={"attention.sliding_window": 8}),
    Control("gemma2", "window one shorter", keys={"attention.sliding_window": 6}),
    Control("gemma2", "window in every layer", blocks={"attend": other_attention(window=7, cap=4.0)}),
    Control("gemma2", "no window", blocks={"attend": other_attention(window=None)}),
    Control("gemma2", "no soft cap on scores", blocks={"attend": other_attention(cap=None)}),
    Control("gemma2", "other soft cap on logits", keys={"final_logit_softcapping": 30.0}),
    Control("gemma2", "no norm after attention", tensors={"blk.0.post_attention_norm.weight": ones}),
    Control("gemma2", "no norm after feed-forward", tensors={"blk.3.post_ffw_norm.weight": ones}),
    Control("gemma3", "window one longer", keys={"attention.sliding_window": 8}),
    Control("gemma3", "window one shorter", keys={"attention.sliding_window": 6}),
    Control("gemma3", "window in every layer", blocks={"attend": other_attention(window=7)}),
    Control("gemma3", "one rotary base", keys={"rope.freq_base_swa": 300000.0}),
    Control("gemma3", "other base where all is seen", keys={"rope.freq_base": 1000000.0}),
    Control("gemma3", "k not normed by its weight", tensors={"blk.5.attn_k_norm.weight": ones}),
    Control("gemma3-capped", "no soft cap on logits", keys={"final_logit_softcapping": math.inf}),
    Control("gemma3-linear", "scaling left out", keys={"rope.scaling.factor": 1.0}),
    Control("phi3", "up before gate", tensors={"blk.0.ffn_up.weight": swapped_halves}),
    Control("phi3", "q, k, v in another order", tensors={"blk.0.attn_qkv.weight": swapped_halves}),
    Control("phi3", "pairs side by side", blocks=ADJACENT),
    Control("phi3-long", "short factors", keys={"context_length": 24}),
    Control("phi3-long", "attention factor left out", keys={"rope.scaling.attn_factor": 1.0}),
    Control("phi3-partial", "other factors", tensors={"rope_factors_long.weight": one_further}),
    Control("phi3-short", "long factors", keys={"context_length": 257}),
    Control("phi3-window", "window applied", blocks={"attend": other_attention(window=7)}),
    Control("smollm3", "rotated in every layer", like="llama"),
    Control("smollm3", "rotated in no layer", blocks={"rotate_adjacent": not_rotated}),
    Control("granite", "no multipliers", like="llama"),
    Control("granite", "embedding multiplier wrong", keys={"embedding_scale": 1.7675}),
    Control("granite", "residual multiplier wrong", keys={"residual_scale": 0.404}),
    Control("granite", "attention multiplier wrong", keys={"attention.scale": 0.2222}),
    Control("granite-tied", "logits multiplied, not divided", keys={"logit_scale": 1 / 3}),
    Control("olmo", "mean not taken away", blocks={"layer_norm": not_centred}),
    Control("olmo", "epsilon too large", keys={"attention.layer_norm_epsilon": 1e-3}),
    Control("olmo-clipped", "no clip", keys={"attention.clamp_kqv": 1e9}),
    Control("olmo2", "q normed by the weights of another head", tensors={"blk.0.attn_q_norm.weight": one_further}),
    Control("olmo2", "no norm after attention", tensors={"blk.1.post_attention_norm.weight": ones}),
    Control("olmo2", "epsilon a tenth too large", keys=RMS_EPSILON),
    Control("olmo2-window", "window one longer", keys={"attention.sliding_window": 8}),
    Control("olmo2-window", "no window", blocks={"attend": other_attention(window=None)}),
    Control("olmo2-window", "scaling left out", keys={"rope.scaling.type": "none"}),
    Control("stablelm", "all of each head rotated", keys={"rope.dimension_count": 8}),
    Control("stablelm", "pairs side by side", blocks=ADJACENT),
    Control("stablelm", "no bias on q", tensors={"blk.0.attn_q.bias": zeros}),
    Control("stablelm", "no bias in the norm", tensors={"blk.0.ffn_norm.bias": zeros}),
    Control("stablelm", "mean not taken away", blocks={"layer_norm": not_centred}),
    Control("stablelm", "epsilon a tenth too large", keys=EPSILON),
    Control("stablelm-parallel", "no bias in the norm", tensors={"blk.1.attn_norm.bias": zeros}),
    Control("gpt2", "positions one off", tensors={"position_embd.weight": one_further}),
    Control("gpt2", "no bias on q, k, v", tensors={"blk.1.attn_qkv.bias": zeros}),
    Control("gpt2", "no bias in the last norm", tensors={"output_norm.bias": zeros}),
    Control("gpt2", "erf form of GELU", blocks=ERF),
    Control("gpt2-untied", "embeddings as head", tensors={"output.weight": None}),
    Control("gptneox", "branches one after the other", keys={"use_parallel_residual": False}),
    Control("gptneox", "all of each head rotated", keys={"rope.dimension_count": 8}),
    Control("gptneox", "erf form of GELU", blocks=ERF),
    Control("gptneox-sequential", "branches side by side", keys={"use_parallel_residual": True}),
    Control("phi2", "no bias on the logits", tensors={"output.bias": zeros}),
    Control("phi2", "no bias in the feed-forward", tensors={"blk.0.ffn_up.bias": zeros}),
    Control("phi2", "all of each head rotated", keys={"rope.dimension_count": 8}),
    Control("phi2", "epsilon a tenth too large", keys=EPSILON),
    Control("starcoder2", "no bias after attention", tensors={"blk.0.attn_output.bias": zeros}),
    Control("starcoder2", "no bias after the feed-forward", tensors={"blk.2.ffn_down.bias": zeros}),
    Control("starcoder2-untied", "embeddings as head", tensors={"output.weight": None}),
    Control("starcoder2-untied", "SiLU", blocks={"feed_forward": feed_forward_with(blocks.silu)}),
    Control("nemotron", "SiLU", blocks={"feed_forward": feed_forward_with(blocks.silu)}),
    Control("nemotron", "no bias in the norm", tensors={"blk.0.attn_norm.bias": zeros}),
    Control("nemotron", "norm weights without the 1", tensors={"blk.0.attn_norm.weight": less_one}),
    Control("nemotron", "all of each head rotated", keys={"rope.dimension_count": 8}),
    Control("nemotron-biased", "no bias on v", tensors={"blk.0.attn_v.bias": zeros}),
    Control("command-r", "other multiplier of the logits", keys={"logit_scale": 0.2525}),
    Control("command-r", "pairs are halves apart", blocks=HALVES),
    Control("command-r", "mean not taken away", blocks={"layer_norm": not_centred}),
    Control("command-r", "epsilon a tenth too large", keys=EPSILON),
    Control("lfm2", "kernel backwards", tensors={"blk.0.shortconv.conv.weight": flipped_kernel}),
    Control("lfm2", "gates exchanged", tensors={"blk.0.shortconv.in_proj.weight": swapped_gates}),
    Control("lfm2", "q not normed by its weight", tensors={"blk.1.attn_q_norm.weight": ones}),
    Control("lfm2", "pairs side by side", blocks=ADJACENT),
    Control("lfm2", "last norm left out", tensors={"token_embd_norm.weight": ones}),
]
