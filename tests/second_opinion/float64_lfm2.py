"""Float64 forward pass of LFM2: gated short convolutions, and attention in some layers."""

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
    split_heads,
    swiglu,
)


def lfm2(model: Weights, tokens: Sequence[int]) -> Opinion:
    """LFM2: a layer without key/value heads convolves, one with them attends; the last norm is `token_embd_norm`."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer, kv_heads in zip(model.layers, model.key("attention.head_count_kv"), strict=True):
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        x = x + (short_convolution(layer, h) if kv_heads == 0 else attention(model, layer, h, int(kv_heads)))
        x = x + swiglu(layer, rms_norm(x, layer["ffn_norm.weight"], epsilon))
        residuals.append(x)
    final = rms_norm(x, model["token_embd_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def short_convolution(layer: Weights, h: Array) -> Array:  # [T, H] -> [T, H]
    """Convolve every channel with its own few weights over this and earlier positions, gated before and after."""
    before, after, values = np.split(layer.linear("shortconv.in_proj", h), 3, axis=-1)  # [T, 3 H] -> 3 x [T, H]
    kernel = layer["shortconv.conv.weight"]  # [H, L], the last weight is for the position itself
    width = kernel.shape[1]
    padded = np.concatenate([np.zeros((width - 1, h.shape[1])), before * values])  # [L - 1 + T, H]
    convolved = sum(kernel[:, back] * padded[back : back + len(h)] for back in range(width))  # [T, H]
    return layer.linear("shortconv.out_proj", after * convolved)


def attention(model: Weights, layer: Weights, h: Array, kv_heads: int) -> Array:  # [T, H] -> [T, H]
    """Attend with RMSNorm over each head of q and k, then rotation by halves."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    turn = rotary(model, len(h))
    q = split_heads(layer.linear("attn_q", h), model.heads)  # [N, T, D]
    k = split_heads(layer.linear("attn_k", h), kv_heads)  # [K, T, D]
    q = rotate_halves(rms_norm(q, layer["attn_q_norm.weight"], epsilon), turn)
    k = rotate_halves(rms_norm(k, layer["attn_k_norm.weight"], epsilon), turn)
    v = split_heads(layer.linear("attn_v", h), kv_heads)  # [K, T, D]
    return layer.linear("attn_output", attend(q, k, v))
