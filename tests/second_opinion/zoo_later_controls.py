"""One wrong formula at a time in the later architectures: experts with biases, states, sinks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.second_opinion import float64_blocks as blocks
from tests.second_opinion.float64_blocks import Array, Complex, Weights
from tests.second_opinion.float64_expert_models import biased_experts
from tests.second_opinion.float64_recurrent_models import shared_expert
from tests.second_opinion.zoo_control import (
    ADJACENT,
    EPSILON,
    HALVES,
    RMS_EPSILON,
    Control,
    flipped_kernel,
    one_further,
    ones,
    other_attention,
    other_renormalisation,
    swapped_halves,
    zeros,
)


def always_rotated(**settings: Any) -> Callable[..., Array]:
    """Rotate queries and keys by halves when it is too late for the layer to say that it does not."""

    def attend(q: Array, k: Array, v: Array, **own: Any) -> Array:
        turn: Complex = blocks.turns(np.array([1.0, 0.1]), q.shape[1])
        return blocks.attend(blocks.rotate_adjacent(q, turn), blocks.rotate_adjacent(k, turn), v, **{**own, **settings})

    return attend


def plain_swiglu(gate: Array, up: Array) -> Array:
    return blocks.silu(gate) * up


def unclamped_swiglu(gate: Array, up: Array) -> Array:
    result: Array = gate / (1 + np.exp(-1.702 * gate)) * (up + 1)
    return result


def without_one(gate: Array, up: Array) -> Array:
    gate, up = np.minimum(gate, 7), np.clip(up, -7, 7)
    result: Array = gate / (1 + np.exp(-1.702 * gate)) * up
    return result


def softmax_first(layer: Weights, h: Array, used: int) -> Array:
    """Share by the softmax over all scores instead of over the chosen ones."""
    kept = blocks.softmax(layer.linear("ffn_gate_inp", h))
    mixed = biased_experts(layer, h, used)
    return mixed * np.sort(kept, axis=-1)[:, -used:].sum(axis=-1, keepdims=True)


def bias_in_shares(model: Weights, layer: Weights, h: Array, added: float) -> Array:
    """Let the bias of the choice count for the shares too."""
    shares = 1 / (1 + np.exp(-layer.linear("ffn_gate_inp", h))) + layer["exp_probs_b.bias"]  # [T, E]
    mixed = np.zeros_like(h)
    for position, (row, own) in enumerate(zip(h, shares, strict=True)):
        best = np.argsort(-own, kind="stable")[: model.key("expert_used_count")]
        for expert in best:
            gate, up = (layer[f"ffn_{part}_exps.weight"][expert] @ row for part in ("gate", "up"))
            down = layer["ffn_down_exps.weight"][expert] @ (blocks.silu(gate) * up)
            mixed[position] += own[expert] / own[best].sum() * down
    return mixed


def scaled_scores(q: Array, k: Array, v: Array, **settings: Any) -> Array:
    return blocks.attend(q, k, v, **{**settings, "scale": None})


def other_layers(array: Array) -> Array:  # [V, layers * E]
    return np.roll(array, 10, axis=1)


def swapped_stacks(array: Array) -> Array:  # [E, 2 F, H]
    return np.roll(array, array.shape[1] // 2, axis=1)


def identity(x: Array) -> Array:
    return x


def not_shared(layer: Weights, h: Array) -> Array:
    return np.zeros_like(h)


def ungated_shared(layer: Weights, h: Array) -> Array:
    """Take back the gate that comes behind the shared expert."""
    gate = 1 / (1 + np.exp(-(h @ layer["ffn_gate_inp_shexp.weight"].reshape(-1, 1))))
    shared: Array = shared_expert(layer, h) / gate
    return shared


def half(array: Array) -> Array:
    return array / 2


def swapped_query_and_gate(array: Array) -> Array:  # [N * 2 * D, H]
    return array.reshape(6, 2, 12, -1)[:, ::-1].reshape(array.shape)


LATER_CONTROLS = [
    Control("cohere2", "window one longer", keys={"attention.sliding_window": 8}),
    Control("cohere2", "window one shorter", keys={"attention.sliding_window": 6}),
    Control("cohere2", "no windows, all layers rotated", like="command-r"),
    Control("cohere2", "pairs are halves apart", blocks=HALVES),
    Control("cohere2", "epsilon a tenth too large", keys=EPSILON),
    Control("cohere2", "other multiplier of the logits", keys={"logit_scale": 0.2525}),
    Control("ernie4_5", "pairs are halves apart", blocks=HALVES),
    Control("ernie4_5", "epsilon a tenth too large", keys=RMS_EPSILON),
    Control("ernie4_5-biased", "no bias after attention", tensors={"blk.0.attn_output.bias": zeros}),
    Control("ernie4_5-biased", "no bias on k", tensors={"blk.2.attn_k.bias": zeros}),
    Control("exaone4", "factors left out", tensors={"rope_freqs.weight": None}),
    Control("exaone4", "window applied", blocks={"attend": other_attention(window=7)}),
    Control("exaone4", "pairs side by side", blocks=ADJACENT),
    Control("exaone4", "no norm after attention", tensors={"blk.1.post_attention_norm.weight": ones}),
    Control("exaone4", "q not normed by its weight", tensors={"blk.1.attn_q_norm.weight": ones}),
    Control("gemma4", "window one longer", keys={"attention.sliding_window": 8}),
    Control("gemma4", "window one shorter", keys={"attention.sliding_window": 6}),
    Control("gemma4", "scores scaled", blocks={"attend": scaled_scores}),
    Control("gemma4", "one rotary base", keys={"rope.freq_base_swa": 300000.0}),
    Control("gemma4", "no rotary factors", tensors={"rope_freqs.weight": ones}),
    Control("gemma4", "inputs of other layers", tensors={"per_layer_token_embd.weight": other_layers}),
    Control("gemma4", "no projected inputs", tensors={"per_layer_proj_norm.weight": zeros}),
    Control("gemma4", "a layer without its input", tensors={"blk.4.post_norm.weight": zeros}),
    Control("gemma4", "a layer not scaled", tensors={"blk.1.layer_output_scale.weight": ones}),
    Control("gemma4", "SiLU", blocks={"gelu_tanh": blocks.silu}),
    Control("gemma4", "no soft cap on logits", keys={"final_logit_softcapping": 1e9}),
    Control("gemma4-experts", "experts not scaled", tensors={"blk.0.ffn_down_exps.scale": ones}),
    Control("gemma4-experts", "router not scaled", tensors={"blk.0.ffn_gate_inp.scale": ones}),
    Control("gemma4-experts", "one expert more", keys={"expert_used_count": 3}),
    Control("gemma4-experts", "no norm behind the experts", tensors={"blk.1.post_ffw_norm_2.weight": ones}),
    Control("gemma4-experts", "no norm before the experts", tensors={"blk.1.pre_ffw_norm_2.weight": ones}),
    Control("gemma4-experts", "no norm behind the dense block", tensors={"blk.1.post_ffw_norm_1.weight": ones}),
    Control("gemma4-experts", "up before gate", tensors={"blk.2.ffn_gate_up_exps.weight": swapped_stacks}),
    Control("gpt-oss", "no sinks", blocks={"attend": other_attention(sinks=None)}),
    Control("gpt-oss", "sinks of other heads", tensors={"blk.0.attn_sinks.weight": one_further}),
    Control("gpt-oss", "window one longer", keys={"attention.sliding_window": 8}),
    Control("gpt-oss", "window one shorter", keys={"attention.sliding_window": 6}),
    Control("gpt-oss", "window in every layer", blocks={"attend": other_attention(window=7)}),
    Control("gpt-oss", "SwiGLU", blocks={"clamped_swiglu": plain_swiglu}),
    Control("gpt-oss", "no clamp", blocks={"clamped_swiglu": unclamped_swiglu}),
    Control("gpt-oss", "up without the 1", blocks={"clamped_swiglu": without_one}),
    Control("gpt-oss", "shares among all experts", blocks={"biased_experts": softmax_first}),
    Control("gpt-oss", "no bias of the router", tensors={"blk.0.ffn_gate_inp.bias": zeros}),
    Control("gpt-oss", "no bias of the gates", tensors={"blk.0.ffn_gate_exps.bias": zeros}),
    Control("gpt-oss", "no bias behind the experts", tensors={"blk.0.ffn_down_exps.bias": zeros}),
    Control("gpt-oss", "one expert more", keys={"expert_used_count": 3}),
    Control("gpt-oss", "pairs side by side", blocks=ADJACENT),
    Control("gpt-oss-yarn", "scaling left out", keys={"rope.scaling.type": "none"}),
    Control("gpt-oss-yarn", "other borders of YaRN", keys={"rope.scaling.yarn_beta_slow": 1.0}),
    Control("granitehybrid", "rotated", blocks={"attend": always_rotated()}),
    Control("granitehybrid", "no shared expert", blocks={"shared_expert": not_shared}),
    Control("granitehybrid", "shares not renormalised", blocks={"experts": other_renormalisation}),
    Control("granitehybrid", "kernel backwards", tensors={"blk.0.ssm_conv1d.weight": flipped_kernel}),
    Control("granitehybrid", "no bias of the convolution", tensors={"blk.0.ssm_conv1d.bias": zeros}),
    Control("granitehybrid", "steps not through softplus", blocks={"softplus": np.exp}),
    Control("granitehybrid", "no bias of the steps", tensors={"blk.0.ssm_dt.bias": zeros}),
    Control("granitehybrid", "states decay half as fast", tensors={"blk.0.ssm_a": half}),
    Control("granitehybrid", "states decay of other heads", tensors={"blk.0.ssm_a": one_further}),
    Control("granitehybrid", "nothing passes by the state", tensors={"blk.0.ssm_d": zeros}),
    Control("granitehybrid", "norm of other groups", tensors={"blk.0.ssm_norm.weight": one_further}),
    Control("granitehybrid", "residual multiplier wrong", keys={"residual_scale": 0.404}),
    Control("granitehybrid-dense", "not rotated", keys={"rope.scaling.finetuned": False}),
    Control("granitehybrid-dense", "attention multiplier wrong", keys={"attention.scale": 0.2222}),
    Control("hunyuan-dense", "normed before it is rotated", like="qwen3"),
    Control("hunyuan-dense", "pairs side by side", blocks=ADJACENT),
    Control("hunyuan-dense", "k not normed by its weight", tensors={"blk.1.attn_k_norm.weight": ones}),
    Control("lfm2moe", "bias counts for the shares", blocks={"chosen_experts": bias_in_shares}),
    Control("lfm2moe", "no bias of the choice", tensors={"blk.2.exp_probs_b.bias": zeros}),
    Control("lfm2moe", "softmax instead of sigmoid", keys={"expert_gating_func": 1}),
    Control("lfm2moe", "one expert more", keys={"expert_used_count": 3}),
    Control("lfm2moe-softmax", "sigmoid instead of softmax", keys={"expert_gating_func": 2}),
    Control("minicpm", "embedding multiplier wrong", keys={"embedding_scale": 1.7675}),
    Control("minicpm", "residual multiplier wrong", keys={"residual_scale": 0.404}),
    Control("minicpm", "logits multiplied, not divided", keys={"logit_scale": 1 / 3}),
    Control("minicpm-old", "embedding not scaled", keys={"embedding_scale": 1.0}),
    Control("minicpm-old", "branches not scaled", keys={"residual_scale": 1.0}),
    Control("minicpm-old", "logits not scaled", keys={"logit_scale": 1.0}),
    Control("mistral3", "queries do not grow", keys={"attention.temperature_scale": 0.0}),
    Control("mistral3", "no multiplier in YaRN", keys={"rope.scaling.yarn_log_multiplier": 0.0}),
    Control("mistral3", "pairs are halves apart", blocks=HALVES),
    Control("mistral3-plain", "rotary base a hundredth too large", keys={"rope.freq_base": 20200.0}),
    Control("qwen35", "gates before queries", tensors={"blk.1.attn_q.weight": swapped_query_and_gate}),
    Control("qwen35", "all of each head rotated", keys={"rope.dimension_count": 12}),
    Control("qwen35", "kernel backwards", tensors={"blk.0.ssm_conv1d.weight": flipped_kernel}),
    Control("qwen35", "decay not through softplus", blocks={"softplus": np.exp}),
    Control("qwen35", "states decay half as fast", tensors={"blk.0.ssm_a": half}),
    Control("qwen35", "rates of other heads", tensors={"blk.0.ssm_beta.weight": one_further}),
    Control("qwen35", "rates not through the sigmoid", blocks={"sigmoid": identity}),
    Control("qwen35", "gate of the state exchanged", tensors={"blk.0.attn_gate.weight": swapped_halves}),
    Control("qwen35", "norm behind the state left out", tensors={"blk.0.ssm_norm.weight": ones}),
    Control("qwen35", "epsilon a tenth too large", keys=RMS_EPSILON),
    Control("qwen35moe", "no shared expert", blocks={"shared_expert": not_shared}),
    Control("qwen35moe", "shared expert not gated", blocks={"shared_expert": ungated_shared}),
    Control("qwen35moe", "gate of other numbers", tensors={"blk.0.ffn_gate_inp_shexp.weight": one_further}),
    Control("qwen35moe", "shares not renormalised", blocks={"experts": other_renormalisation}),
    Control("qwen35moe", "one expert more", keys={"expert_used_count": 3}),
    Control("qwen35moe", "kernel backwards", tensors={"blk.0.ssm_conv1d.weight": flipped_kernel}),
    Control("qwen35moe", "states decay half as fast", tensors={"blk.0.ssm_a": half}),
    Control("qwen35moe", "rates of other heads", tensors={"blk.0.ssm_beta.weight": one_further}),
    Control("qwen35moe", "gates before queries", tensors={"blk.1.attn_q.weight": swapped_query_and_gate}),
    Control("qwen35-listed", "pairs side by side", blocks=ADJACENT),
]
