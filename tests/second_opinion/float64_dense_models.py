"""Float64 forward passes of later models without experts or recurrent states.

Each function takes the weights of a file and token ids [T] and is complete for itself. Sources: the papers and model
cards, the formulas as transformers and llama.cpp implement them, tensor and key names of GGUF.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.second_opinion.float64_blocks import (
    Array,
    Opinion,
    Weights,
    attend,
    layer_norm,
    rms_norm,
    rotary,
    rotate_adjacent,
    rotate_halves,
    split_heads,
    swiglu,
)


def cohere2(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Command R7B: branches side by side; every fourth layer sees everything and knows no positions."""
    epsilon, window = model.key("attention.layer_norm_epsilon"), model.key("attention.sliding_window")
    turn = rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for number, layer in enumerate(model.layers, start=1):
        h = layer_norm(x, epsilon, layer["attn_norm.weight"])
        q = split_heads(layer.linear("attn_q", h), model.heads)  # [N, T, D]
        k = split_heads(layer.linear("attn_k", h), model.kv_heads)  # [K, T, D]
        v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
        if number % 4:
            mixed = attend(rotate_adjacent(q, turn), rotate_adjacent(k, turn), v, window=window)
        else:
            mixed = attend(q, k, v)
        x = x + layer.linear("attn_output", mixed) + swiglu(layer, h)
        residuals.append(x)
    final = layer_norm(x, epsilon, model["output_norm.weight"])
    return Opinion(model.logits(final) * model.key("logit_scale"), residuals, final)


def exaone4(model: Weights, tokens: Sequence[int]) -> Opinion:
    """EXAONE 4: norms behind the branches; with 64 layers three of four have a window, and they alone rotate."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    turn = rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for number, layer in enumerate(model.layers, start=1):
        hybrid = model.key("block_count") == 64
        q = split_heads(layer.linear("attn_q", x), model.heads)  # [N, T, D]
        k = split_heads(layer.linear("attn_k", x), model.kv_heads)  # [K, T, D]
        v = split_heads(layer.linear("attn_v", x), model.kv_heads)  # [K, T, D]
        q = rms_norm(q, layer["attn_q_norm.weight"], epsilon)
        k = rms_norm(k, layer["attn_k_norm.weight"], epsilon)
        if not hybrid or number % 4:
            q, k = rotate_halves(q, turn), rotate_halves(k, turn)
        window = model.key("attention.sliding_window") if hybrid and number % 4 else None
        attended = layer.linear("attn_output", attend(q, k, v, window=window))
        x = x + rms_norm(attended, layer["post_attention_norm.weight"], epsilon)
        x = x + rms_norm(swiglu(layer, x), layer["post_ffw_norm.weight"], epsilon)
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def hunyuan_dense(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Hunyuan: every head of q and k is rotated, then normed."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    turn = rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        q = rotate_halves(split_heads(layer.linear("attn_q", h), model.heads), turn)  # [N, T, D]
        k = rotate_halves(split_heads(layer.linear("attn_k", h), model.kv_heads), turn)  # [K, T, D]
        q = rms_norm(q, layer["attn_q_norm.weight"], epsilon)
        k = rms_norm(k, layer["attn_k_norm.weight"], epsilon)
        v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
        x = x + layer.linear("attn_output", attend(q, k, v))
        x = x + swiglu(layer, rms_norm(x, layer["ffn_norm.weight"], epsilon))
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def minicpm(model: Weights, tokens: Sequence[int]) -> Opinion:
    """MiniCPM: llama with factors of the embedding, of each branch and of the logits (a divisor).

    Without the keys llama.cpp 0.5.0 takes 12, 1.4 / sqrt(layers) and 256 / H, in float32.
    """
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    hidden, layers = np.float32(model.key("embedding_length")), np.float32(model.key("block_count"))
    branch = model.key("residual_scale", float(np.float32(1.4) / np.sqrt(layers)))
    turn = rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)] * model.key("embedding_scale", 12.0)  # [T, H]
    residuals = [x]
    for layer in model.layers:
        x = x + branch * adjacent_attention(model, layer, rms_norm(x, layer["attn_norm.weight"], epsilon), turn)
        x = x + branch * swiglu(layer, rms_norm(x, layer["ffn_norm.weight"], epsilon))
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    divisor = model.key("logit_scale", float(np.float32(256) / hidden))
    return Opinion(model.logits(final) / divisor, residuals, final)


def adjacent_attention(model: Weights, layer: Weights, h: Array, turn: Array, growth: Array | float = 1.0) -> Array:
    """Attend with rotation of adjacent pairs; queries times `growth` [T, 1]: [T, H] -> [T, H]."""
    q = rotate_adjacent(split_heads(layer.linear("attn_q", h), model.heads), turn) * growth  # [N, T, D]
    k = rotate_adjacent(split_heads(layer.linear("attn_k", h), model.kv_heads), turn)  # [K, T, D]
    v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
    return layer.linear("attn_output", attend(q, k, v))


def mistral3(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Ministral 3: llama whose queries grow with every trained context that lies behind them."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    turn = rotary(model, len(tokens))
    trained = model.key("rope.scaling.original_context_length", model.key("context_length"))
    contexts = [position // trained for position in range(len(tokens))]
    growth = np.array([[1 + model.key("attention.temperature_scale", 0.0) * math.log(1 + n)] for n in contexts])
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        x = x + adjacent_attention(model, layer, h, turn, growth)
        x = x + swiglu(layer, rms_norm(x, layer["ffn_norm.weight"], epsilon))
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)
