"""Float64 forward passes of Gemma 1 to 3: scaled embeddings, GELU in the gate, tied head.

The converter stores 1 + w for the norms, so they multiply as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.second_opinion.float64_blocks import (
    Array,
    Opinion,
    Weights,
    attend,
    frequencies,
    gelu_tanh,
    rms_norm,
    rotary,
    rotate_halves,
    soft_cap,
    split_heads,
    turns,
)


def scaled_embedding(model: Weights, tokens: Sequence[int]) -> Array:  # [T] -> [T, H]
    return model["token_embd.weight"][list(tokens)] * math.sqrt(model.key("embedding_length"))


def geglu(layer: Weights, h: Array) -> Array:  # [T, H] -> [T, H]
    gate, up = layer.linear("ffn_gate", h), layer.linear("ffn_up", h)  # [T, F]
    return layer.linear("ffn_down", gelu_tanh(gate) * up)


def gemma(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Gemma 1: few key/value heads, a head size of its own."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    turn = rotary(model, len(tokens))
    x = scaled_embedding(model, tokens)  # [T, H]
    residuals = [x]
    for layer in model.layers:
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        q = rotate_halves(split_heads(layer.linear("attn_q", h), model.heads), turn)  # [N, T, D]
        k = rotate_halves(split_heads(layer.linear("attn_k", h), model.kv_heads), turn)  # [K, T, D]
        v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
        x = x + layer.linear("attn_output", attend(q, k, v))
        x = x + geglu(layer, rms_norm(x, layer["ffn_norm.weight"], epsilon))
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def gemma2(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Gemma 2: norms before and after each branch, soft caps on scores and logits, a window on every other layer."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    cap, final_cap = model.key("attn_logit_softcapping", 50.0), model.key("final_logit_softcapping", 30.0)
    turn = rotary(model, len(tokens))
    x = scaled_embedding(model, tokens)  # [T, H]
    residuals = [x]
    for index, layer in enumerate(model.layers):
        window = model.key("attention.sliding_window") if index % 2 == 0 else None
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        q = rotate_halves(split_heads(layer.linear("attn_q", h), model.heads), turn)  # [N, T, D]
        k = rotate_halves(split_heads(layer.linear("attn_k", h), model.kv_heads), turn)  # [K, T, D]
        v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
        attended = layer.linear("attn_output", attend(q, k, v, window=window, cap=cap))
        x = x + rms_norm(attended, layer["post_attention_norm.weight"], epsilon)
        h = rms_norm(x, layer["ffn_norm.weight"], epsilon)
        x = x + rms_norm(geglu(layer, h), layer["post_ffw_norm.weight"], epsilon)
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(soft_cap(model.logits(final), final_cap), residuals, final)


def gemma3(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Gemma 3: normed heads, no soft caps; five layers with a window and their own rotary base, then one without.

    Scaling of the rotary embedding concerns the layers without a window only. A soft cap on the logits is optional.
    """
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    base_in_window = model.key("rope.freq_base_swa", 10000.0)
    local_turn = turns(frequencies(model, base=base_in_window), len(tokens))
    global_turn = rotary(model, len(tokens))
    x = scaled_embedding(model, tokens)  # [T, H]
    residuals = [x]
    for number, layer in enumerate(model.layers, start=1):
        everything = number % 6 == 0
        turn, window = (global_turn, None) if everything else (local_turn, model.key("attention.sliding_window"))
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        q = split_heads(layer.linear("attn_q", h), model.heads)  # [N, T, D]
        k = split_heads(layer.linear("attn_k", h), model.kv_heads)  # [K, T, D]
        v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
        q = rotate_halves(rms_norm(q, layer["attn_q_norm.weight"], epsilon), turn)
        k = rotate_halves(rms_norm(k, layer["attn_k_norm.weight"], epsilon), turn)
        attended = layer.linear("attn_output", attend(q, k, v, window=window))
        x = x + rms_norm(attended, layer["post_attention_norm.weight"], epsilon)
        h = rms_norm(x, layer["ffn_norm.weight"], epsilon)
        x = x + rms_norm(geglu(layer, h), layer["post_ffw_norm.weight"], epsilon)
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    logits = model.logits(final)
    final_cap = model.key("final_logit_softcapping", math.inf)
    return Opinion(logits if final_cap == math.inf else soft_cap(logits, final_cap), residuals, final)
