"""Float64 forward passes of the models with RMSNorm that stay close to llama (and olmo, whose norm has no weights).

Each function takes the weights of a file and token ids [T] and is complete for itself. Sources: the papers and model
cards, the formulas as transformers and llama.cpp implement them, tensor and key names of GGUF.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.second_opinion.float64_blocks import (
    Array,
    Complex,
    Opinion,
    Weights,
    attend,
    experts,
    frequencies,
    layer_norm,
    rms_norm,
    rotary,
    rotate_adjacent,
    rotate_halves,
    silu,
    split_heads,
    swiglu,
    turns,
)


def llama(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Llama 1 to 3: rotary embedding on adjacent pairs, with `rope_freqs`, linear or YaRN scaling."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    turn = rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        q = rotate_adjacent(split_heads(layer.linear("attn_q", h), model.heads), turn)  # [N, T, D]
        k = rotate_adjacent(split_heads(layer.linear("attn_k", h), model.kv_heads), turn)  # [K, T, D]
        v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
        x = x + layer.linear("attn_output", attend(q, k, v))
        x = x + swiglu(layer, rms_norm(x, layer["ffn_norm.weight"], epsilon))
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def qwen2(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Qwen 2: biases on q, k, v; rotary pairs are halves apart."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    turn = rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        q = h @ layer["attn_q.weight"].T + layer["attn_q.bias"]  # [T, H] -> [T, N * D]
        k = h @ layer["attn_k.weight"].T + layer["attn_k.bias"]  # [T, H] -> [T, K * D]
        v = h @ layer["attn_v.weight"].T + layer["attn_v.bias"]  # [T, H] -> [T, K * D]
        q, k = rotate_halves(split_heads(q, model.heads), turn), rotate_halves(split_heads(k, model.kv_heads), turn)
        x = x + layer.linear("attn_output", attend(q, k, split_heads(v, model.kv_heads)))
        x = x + swiglu(layer, rms_norm(x, layer["ffn_norm.weight"], epsilon))
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def qwen3(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Qwen 3, dense: every head of q and k is normed before it is rotated; the head size is a choice of its own."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        x = x + normed_head_attention(model, layer, rms_norm(x, layer["attn_norm.weight"], epsilon))
        x = x + swiglu(layer, rms_norm(x, layer["ffn_norm.weight"], epsilon))
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def qwen3moe(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Qwen 3 with experts: the shares of the chosen experts are scaled to a sum of 1."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    used = model.key("expert_used_count")
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        x = x + normed_head_attention(model, layer, rms_norm(x, layer["attn_norm.weight"], epsilon))
        x = x + experts(layer, rms_norm(x, layer["ffn_norm.weight"], epsilon), used, renormalise=True)
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def normed_head_attention(model: Weights, layer: Weights, h: Array) -> Array:  # [T, H] -> [T, H]
    """Attend with RMSNorm over each head of q and k, then rotation by halves."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    turn = rotary(model, len(h))
    q = split_heads(layer.linear("attn_q", h), model.heads)  # [N, T, D]
    k = split_heads(layer.linear("attn_k", h), model.kv_heads)  # [K, T, D]
    q = rotate_halves(rms_norm(q, layer["attn_q_norm.weight"], epsilon), turn)
    k = rotate_halves(rms_norm(k, layer["attn_k_norm.weight"], epsilon), turn)
    v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
    return layer.linear("attn_output", attend(q, k, v))


def normed_row_attention(
    model: Weights, layer: Weights, h: Array, turn: Complex, window: int | None = None
) -> Array:  # [T, H] -> [T, H]
    """Attend with RMSNorm over all heads of q together, and of k, then rotation by halves (OLMo 2, OLMoE)."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    q = rms_norm(layer.linear("attn_q", h), layer["attn_q_norm.weight"], epsilon)  # [T, N * D]
    k = rms_norm(layer.linear("attn_k", h), layer["attn_k_norm.weight"], epsilon)  # [T, K * D]
    q, k = rotate_halves(split_heads(q, model.heads), turn), rotate_halves(split_heads(k, model.kv_heads), turn)
    v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
    return layer.linear("attn_output", attend(q, k, v, window=window))


def smollm3(model: Weights, tokens: Sequence[int]) -> Opinion:
    """SmolLM 3: llama, but every fourth layer knows no positions."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    turn = rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for number, layer in enumerate(model.layers, start=1):
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        q = split_heads(layer.linear("attn_q", h), model.heads)  # [N, T, D]
        k = split_heads(layer.linear("attn_k", h), model.kv_heads)  # [K, T, D]
        if number % 4 != 0:
            q, k = rotate_adjacent(q, turn), rotate_adjacent(k, turn)
        v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
        x = x + layer.linear("attn_output", attend(q, k, v))
        x = x + swiglu(layer, rms_norm(x, layer["ffn_norm.weight"], epsilon))
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def granite(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Granite 3: llama with four multipliers, on the embedding, the scores, each branch and the logits (a divisor)."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    branch, scale = model.key("residual_scale"), model.key("attention.scale")
    turn = rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)] * model.key("embedding_scale")  # [T, H]
    residuals = [x]
    for layer in model.layers:
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        q = rotate_adjacent(split_heads(layer.linear("attn_q", h), model.heads), turn)  # [N, T, D]
        k = rotate_adjacent(split_heads(layer.linear("attn_k", h), model.kv_heads), turn)  # [K, T, D]
        v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
        x = x + branch * layer.linear("attn_output", attend(q, k, v, scale=scale))
        x = x + branch * swiglu(layer, rms_norm(x, layer["ffn_norm.weight"], epsilon))
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final) / model.key("logit_scale"), residuals, final)


def olmo(model: Weights, tokens: Sequence[int]) -> Opinion:
    """OLMo 1: LayerNorm without weights; q, k, v may be clipped."""
    epsilon = model.key("attention.layer_norm_epsilon")
    clip = model.key("attention.clamp_kqv", math.inf)
    turn = rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        h = layer_norm(x, epsilon)
        q, k, v = (np.clip(layer.linear(name, h), -clip, clip) for name in ("attn_q", "attn_k", "attn_v"))
        q = rotate_adjacent(split_heads(q, model.heads), turn)  # [N, T, D]
        k = rotate_adjacent(split_heads(k, model.kv_heads), turn)  # [K, T, D]
        x = x + layer.linear("attn_output", attend(q, k, split_heads(v, model.kv_heads)))
        x = x + swiglu(layer, layer_norm(x, epsilon))
        residuals.append(x)
    final = layer_norm(x, epsilon)
    return Opinion(model.logits(final), residuals, final)


def olmo2(model: Weights, tokens: Sequence[int]) -> Opinion:
    """OLMo 2: the norms come after the branches instead of before; q and k are normed over the whole row.

    OLMo 3 goes by the same name: the file lists layers with a window and plain rotation; the others see everything,
    and there the scaling of the rotation applies.
    """
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    window = model.key("attention.sliding_window", 0) or None
    plain, scaled = turns(frequencies(model), len(tokens)), rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for number, layer in enumerate(model.layers):
        everything = window is None or not model.key("attention.sliding_window_pattern")[number]
        attended = normed_row_attention(model, layer, x, *((scaled, None) if everything else (plain, window)))
        x = x + rms_norm(attended, layer["post_attention_norm.weight"], epsilon)
        x = x + rms_norm(swiglu(layer, x), layer["post_ffw_norm.weight"], epsilon)
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def olmoe(model: Weights, tokens: Sequence[int]) -> Opinion:
    """OLMoE: experts that keep their share among all; q and k are normed over the whole row."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    used = model.key("expert_used_count")
    turn = rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        x = x + normed_row_attention(model, layer, rms_norm(x, layer["attn_norm.weight"], epsilon), turn)
        x = x + experts(layer, rms_norm(x, layer["ffn_norm.weight"], epsilon), used, renormalise=False)
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def phi3(model: Weights, tokens: Sequence[int], window: bool = False) -> Opinion:
    """Phi 3: q, k, v in one matrix, gate and up in another; LongRoPE factors; optionally the attention window.

    llama.cpp leaves `attention.sliding_window` aside, transformers applies it (`window`).
    """
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    visible = (model.key("attention.sliding_window", 0) or None) if window else None
    angles = frequencies(model)
    if "rope_factors_long.weight" in model:  # LongRoPE: which set is used depends on the context of the run
        longer = model.key("context_length") > model.key("rope.scaling.original_context_length")
        angles = angles / model[f"rope_factors_{'long' if longer else 'short'}.weight"]
    turn = turns(angles, len(tokens), size=model.key("rope.scaling.attn_factor", 1.0))
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        heads = split_heads(layer.linear("attn_qkv", h), model.heads + 2 * model.kv_heads)  # [N + 2 K, T, D]
        q, k, v = np.split(heads, [model.heads, model.heads + model.kv_heads])
        attended = attend(rotate_halves(q, turn), rotate_halves(k, turn), v, window=visible)
        x = x + layer.linear("attn_output", attended)
        h = rms_norm(x, layer["ffn_norm.weight"], epsilon)
        gate, up = np.split(layer.linear("ffn_up", h), 2, axis=-1)  # [T, 2 F] -> 2 x [T, F]
        x = x + layer.linear("ffn_down", silu(gate) * up)
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)
