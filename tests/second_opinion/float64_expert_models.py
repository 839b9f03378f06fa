"""Float64 forward passes of gpt-oss and of LFM2 with experts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.second_opinion.float64_blocks import (
    Array,
    Opinion,
    Weights,
    attend,
    rms_norm,
    rotary,
    rotate_halves,
    silu,
    softmax,
    split_heads,
    swiglu,
)
from tests.second_opinion.float64_lfm2 import attention, short_convolution


def gpt_oss(model: Weights, tokens: Sequence[int], whole_pairs: bool = True) -> Opinion:
    """gpt-oss: a sink in every head, a window on every other layer from the first, experts with biases.

    The published models scale their rotation without rounding its range to `whole_pairs`.
    """
    epsilon, window = model.key("attention.layer_norm_rms_epsilon"), model.key("attention.sliding_window")
    turn = rotary(model, len(tokens), whole_pairs)
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for number, layer in enumerate(model.layers):
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        q = rotate_halves(split_heads(layer.linear("attn_q", h), model.heads), turn)  # [N, T, D]
        k = rotate_halves(split_heads(layer.linear("attn_k", h), model.kv_heads), turn)  # [K, T, D]
        v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
        seen = window if number % 2 == 0 else None
        x = x + layer.linear("attn_output", attend(q, k, v, window=seen, sinks=layer["attn_sinks.weight"]))
        h = rms_norm(x, layer["post_attention_norm.weight"], epsilon)
        x = x + biased_experts(layer, h, model.key("expert_used_count"))
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def biased_experts(layer: Weights, h: Array, used: int) -> Array:  # [T, H] -> [T, H]
    """Choose by score, share by the softmax of the chosen scores alone; every matrix has a bias."""
    mixed = np.zeros_like(h)
    for position, scores in enumerate(layer.linear("ffn_gate_inp", h)):
        best = np.argsort(-scores, kind="stable")[:used]
        for expert, share in zip(best, softmax(scores[best]), strict=True):
            gate, up = (
                layer[f"ffn_{part}_exps.weight"][expert] @ h[position] + layer[f"ffn_{part}_exps.bias"][expert]
                for part in ("gate", "up")
            )
            hidden = clamped_swiglu(gate, up)  # [F]
            mixed[position] += share * (
                layer["ffn_down_exps.weight"][expert] @ hidden + layer["ffn_down_exps.bias"][expert]
            )
    return mixed


def clamped_swiglu(gate: Array, up: Array) -> Array:
    gate, up = np.minimum(gate, 7), np.clip(up, -7, 7)
    result: Array = gate / (1 + np.exp(-1.702 * gate)) * (up + 1)
    return result


def lfm2moe(model: Weights, tokens: Sequence[int], added: float = 0.0) -> Opinion:
    """LFM2 with experts on all layers but the first ones; `added` to the sum of shares is transformers' 1e-6."""
    epsilon, dense = model.key("attention.layer_norm_rms_epsilon"), model.key("leading_dense_block_count")
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for number, (layer, kv_heads) in enumerate(zip(model.layers, model.key("attention.head_count_kv"), strict=True)):
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        x = x + (short_convolution(layer, h) if kv_heads == 0 else attention(model, layer, h, int(kv_heads)))
        h = rms_norm(x, layer["ffn_norm.weight"], epsilon)
        x = x + (swiglu(layer, h) if number < dense else chosen_experts(model, layer, h, added))
        residuals.append(x)
    final = rms_norm(x, model["token_embd_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def chosen_experts(model: Weights, layer: Weights, h: Array, added: float) -> Array:  # [T, H] -> [T, H]
    """Choose by share plus bias; the shares of the chosen, without the bias, are scaled to a sum of 1."""
    scores = layer.linear("ffn_gate_inp", h)  # [T, E]
    shares = 1 / (1 + np.exp(-scores)) if model.key("expert_gating_func") == 2 else softmax(scores)
    mixed = np.zeros_like(h)
    for position, own in enumerate(shares):
        best = np.argsort(-(own + layer["exp_probs_b.bias"]), kind="stable")[: model.key("expert_used_count")]
        total = own[best].sum() + added
        for expert in best:
            gate = layer["ffn_gate_exps.weight"][expert] @ h[position]  # [H] -> [F]
            up = layer["ffn_up_exps.weight"][expert] @ h[position]  # [H] -> [F]
            down = layer["ffn_down_exps.weight"][expert] @ (silu(gate) * up)  # [F] -> [H]
            mixed[position] += own[expert] / total * down
    return mixed
