"""Float64 forward passes of the models with LayerNorm.

Each function takes the weights of a file and token ids [T] and is complete for itself. Sources: the papers and model
cards, the formulas as transformers and llama.cpp implement them, tensor and key names of GGUF.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tests.second_opinion.float64_blocks import (
    Array,
    Opinion,
    Weights,
    attend,
    gelu_tanh,
    layer_norm,
    rotary,
    rotate_adjacent,
    rotate_halves,
    split_heads,
    squared_relu,
    swiglu,
)


def normed(model: Weights, holder: Weights, name: str, x: Array) -> Array:  # [T, H] -> [T, H]
    """Apply the LayerNorm `name` with weight and bias of the model or a layer."""
    return layer_norm(x, model.key("attention.layer_norm_epsilon"), holder[f"{name}.weight"], holder[f"{name}.bias"])


def feed_forward(layer: Weights, h: Array, activation: Callable[[Array], Array]) -> Array:  # [T, H] -> [T, H]
    """Two matrices with an activation between them, no gate."""
    return layer.linear("ffn_down", activation(layer.linear("ffn_up", h)))


def rotated_attention(model: Weights, layer: Weights, h: Array) -> Array:  # [T, H] -> [T, H]
    """Attend with q, k, v of their own matrices; q and k are rotated by halves, wholly or in part."""
    turn = rotary(model, len(h))
    q = rotate_halves(split_heads(layer.linear("attn_q", h), model.heads), turn)  # [N, T, D]
    k = rotate_halves(split_heads(layer.linear("attn_k", h), model.kv_heads), turn)  # [K, T, D]
    v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
    return layer.linear("attn_output", attend(q, k, v))


def gpt2(model: Weights, tokens: Sequence[int]) -> Opinion:
    """GPT-2: learned positions are added to the embedding; q, k, v in one matrix; GELU."""
    x = model["token_embd.weight"][list(tokens)] + model["position_embd.weight"][: len(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        h = normed(model, layer, "attn_norm", x)
        q, k, v = np.split(split_heads(layer.linear("attn_qkv", h), 3 * model.heads), 3)  # [3 N, T, D] -> 3 x [N, T, D]
        x = x + layer.linear("attn_output", attend(q, k, v))
        x = x + feed_forward(layer, normed(model, layer, "ffn_norm", x), gelu_tanh)
        residuals.append(x)
    final = normed(model, model, "output_norm", x)
    return Opinion(model.logits(final), residuals, final)


def gptneox(model: Weights, tokens: Sequence[int], activation: Callable[[Array], Array] = gelu_tanh) -> Opinion:
    """GPT-NeoX, Pythia: both branches read the same stream, each through its own norm; part of each head is rotated.

    llama.cpp has GELU in its tanh form, transformers in its erf form (`activation`).
    """
    turn = rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        h = normed(model, layer, "attn_norm", x)
        q, k, v = np.split(split_heads(layer.linear("attn_qkv", h), 3 * model.heads), 3)  # [3 N, T, D] -> 3 x [N, T, D]
        attended = layer.linear("attn_output", attend(rotate_halves(q, turn), rotate_halves(k, turn), v))
        before = x if model.key("use_parallel_residual") else x + attended  # what the second branch reads
        x = x + attended + feed_forward(layer, normed(model, layer, "ffn_norm", before), activation)
        residuals.append(x)
    final = normed(model, model, "output_norm", x)
    return Opinion(model.logits(final), residuals, final)


def phi2(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Phi 1.5, Phi 2: attention and feed-forward side by side behind one norm; a bias on the logits."""
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        h = normed(model, layer, "attn_norm", x)
        x = x + rotated_attention(model, layer, h) + feed_forward(layer, h, gelu_tanh)
        residuals.append(x)
    final = normed(model, model, "output_norm", x)
    return Opinion(final @ model["output.weight"].T + model["output.bias"], residuals, final)


def starcoder2(model: Weights, tokens: Sequence[int]) -> Opinion:
    """StarCoder 2: biases everywhere, rotary embedding, GELU without a gate."""
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        x = x + rotated_attention(model, layer, normed(model, layer, "attn_norm", x))
        x = x + feed_forward(layer, normed(model, layer, "ffn_norm", x), gelu_tanh)
        residuals.append(x)
    final = normed(model, model, "output_norm", x)
    return Opinion(model.logits(final), residuals, final)


def nemotron(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Nemotron 3, Minitron: squared ReLU without a gate, part of each head rotated (the converter stores 1 + w)."""
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        x = x + rotated_attention(model, layer, normed(model, layer, "attn_norm", x))
        x = x + feed_forward(layer, normed(model, layer, "ffn_norm", x), squared_relu)
        residuals.append(x)
    final = normed(model, model, "output_norm", x)
    return Opinion(model.logits(final), residuals, final)


def stablelm(model: Weights, tokens: Sequence[int]) -> Opinion:
    """StableLM: LayerNorm around llama's branches, part of each head rotated.

    The 12B model has no second norm: its branches stand side by side; and it norms the heads of q and k, each with
    weights of its own.
    """
    epsilon = model.key("attention.layer_norm_epsilon")
    turn = rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        h = normed(model, layer, "attn_norm", x)
        q = split_heads(layer.linear("attn_q", h), model.heads)  # [N, T, D]
        k = split_heads(layer.linear("attn_k", h), model.kv_heads)  # [K, T, D]
        v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
        if "attn_q_norm.weight" in layer:
            q = layer_norm(q, epsilon, layer["attn_q_norm.weight"][:, None, :])
            k = layer_norm(k, epsilon, layer["attn_k_norm.weight"][:, None, :])
        x = x + layer.linear("attn_output", attend(rotate_halves(q, turn), rotate_halves(k, turn), v))
        x = x + swiglu(layer, normed(model, layer, "ffn_norm", x) if "ffn_norm.weight" in layer else h)
        residuals.append(x)
    final = normed(model, model, "output_norm", x)
    return Opinion(model.logits(final), residuals, final)


def command_r(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Command R: branches side by side behind one norm without bias; the logits are multiplied by a small number."""
    epsilon = model.key("attention.layer_norm_epsilon")
    turn = rotary(model, len(tokens))
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer in model.layers:
        h = layer_norm(x, epsilon, layer["attn_norm.weight"])
        q = rotate_adjacent(split_heads(layer.linear("attn_q", h), model.heads), turn)  # [N, T, D]
        k = rotate_adjacent(split_heads(layer.linear("attn_k", h), model.kv_heads), turn)  # [K, T, D]
        v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
        x = x + layer.linear("attn_output", attend(q, k, v)) + swiglu(layer, h)
        residuals.append(x)
    final = layer_norm(x, epsilon, model["output_norm.weight"])
    return Opinion(model.logits(final) * model.key("logit_scale"), residuals, final)
