"""Float64 forward passes of models with layers that carry a state: Mamba 2 (Granite 4), gated delta net (Qwen 3.5).

The states are followed head by head and position by position, as the papers write them: arXiv 2405.21060 (Mamba 2),
arXiv 2412.06464 (gated delta networks).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.second_opinion.float64_blocks import (
    Array,
    Opinion,
    Weights,
    attend,
    experts,
    rms_norm,
    rotary,
    rotate_adjacent,
    rotate_halves,
    silu,
    split_heads,
    swiglu,
)


def sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result


def softplus(x: Array) -> Array:
    result: Array = np.logaddexp(0, x)
    return result


def convolved(layer: Weights, x: Array) -> Array:  # [T, C] -> [T, C]
    """Convolve every channel over this and earlier positions, add the bias if there is one, and activate."""
    kernel = layer["ssm_conv1d.weight"]  # [C, L], the last weight is for the position itself
    y = np.zeros_like(x)
    for position in range(len(x)):
        for back in range(min(kernel.shape[1], position + 1)):
            y[position] += kernel[:, -1 - back] * x[position - back]
    return silu(y + layer["ssm_conv1d.bias"] if "ssm_conv1d.bias" in layer else y)


def granitehybrid(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Granite 4: granite's multipliers; layers without key/value heads hold a state space."""
    epsilon, branch = model.key("attention.layer_norm_rms_epsilon"), model.key("residual_scale")
    x = model["token_embd.weight"][list(tokens)] * model.key("embedding_scale")  # [T, H]
    residuals = [x]
    for layer, kv_heads in zip(model.layers, model.key("attention.head_count_kv"), strict=True):
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        mixed = granite_attention(model, layer, h, int(kv_heads)) if kv_heads else state_space(model, layer, h)
        x = x + branch * mixed
        h = rms_norm(x, layer["ffn_norm.weight"], epsilon)
        if model.key("expert_count"):
            routed = experts(layer, h, model.key("expert_used_count"), renormalise=True)
            x = x + branch * (routed + shared_expert(layer, h))
        else:
            x = x + branch * swiglu(layer, h)
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final) / model.key("logit_scale"), residuals, final)


def shared_expert(layer: Weights, h: Array) -> Array:  # [T, H] -> [T, H]
    return layer.linear("ffn_down_shexp", silu(layer.linear("ffn_gate_shexp", h)) * layer.linear("ffn_up_shexp", h))


def granite_attention(model: Weights, layer: Weights, h: Array, kv_heads: int) -> Array:  # [T, H] -> [T, H]
    q = split_heads(layer.linear("attn_q", h), model.heads)  # [N, T, D]
    k = split_heads(layer.linear("attn_k", h), kv_heads)  # [K, T, D]
    v = split_heads(layer.linear("attn_v", h), kv_heads)  # [K, T, D]
    if model.metadata.get("granitehybrid.rope.scaling.finetuned", True):
        turn = rotary(model, len(h))
        q, k = rotate_adjacent(q, turn), rotate_adjacent(k, turn)
    return layer.linear("attn_output", attend(q, k, v, scale=model.key("attention.scale")))


def state_space(model: Weights, layer: Weights, h: Array) -> Array:  # [T, H] -> [T, H]
    """Mamba 2: the state of a head decays by exp(step * a) and takes in step * x B^T; C reads it."""
    heads, size = model.key("ssm.time_step_rank"), model.key("ssm.state_size")
    groups, inner = model.key("ssm.group_count"), model.key("ssm.inner_size")
    z, channels, steps = np.split(layer.linear("ssm_in", h), [inner, 2 * inner + 2 * groups * size], axis=-1)
    x, b, c = np.split(convolved(layer, channels), [inner, inner + groups * size], axis=-1)
    steps = softplus(steps + layer["ssm_dt.bias"])  # [T, S]
    x = split_heads(x, heads)  # [S, T, M]
    b, c = split_heads(b, groups), split_heads(c, groups)  # [G, T, N]
    y = np.zeros_like(x)
    for head in range(heads):
        group = head * groups // heads
        state = np.zeros((x.shape[2], size))  # [M, N]
        for position in range(len(h)):
            step = steps[position, head]
            state = np.exp(step * layer["ssm_a"][head, 0]) * state
            state = state + step * np.outer(x[head, position], b[group, position])
            y[head, position] = state @ c[group, position] + layer["ssm_d"][head, 0] * x[head, position]
    gated = y.swapaxes(0, 1).reshape(len(h), inner) * silu(z)
    normed = rms_norm(
        gated.reshape(len(h), groups, -1), layer["ssm_norm.weight"], model.key("attention.layer_norm_rms_epsilon")
    )
    return layer.linear("ssm_out", normed.reshape(len(h), inner))


def qwen35(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Qwen 3.5: gated delta nets, and in every so many layers attention with a gate on what it mixed.

    With experts every position also takes a shared one, as far as the sigmoid of a score lets it.
    """
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    interval = model.key("full_attention_interval", 4)
    by_interval = [(number + 1) % interval != 0 for number in range(len(model.layers))]
    recurrent = model.key("attention.recurrent_layers", by_interval)
    x = model["token_embd.weight"][list(tokens)]  # [T, H]
    residuals = [x]
    for layer, carries in zip(model.layers, recurrent, strict=True):
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        x = x + (delta_net(model, layer, h) if carries else gated_attention(model, layer, h))
        h = rms_norm(x, layer["post_attention_norm.weight"], epsilon)
        if "ffn_gate_inp.weight" in layer:
            shared = shared_expert(layer, h) * sigmoid(h @ layer["ffn_gate_inp_shexp.weight"].reshape(-1, 1))
            x = x + experts(layer, h, model.key("expert_used_count"), renormalise=True) + shared
        else:
            x = x + swiglu(layer, h)
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(model.logits(final), residuals, final)


def gated_attention(model: Weights, layer: Weights, h: Array) -> Array:  # [T, H] -> [T, H]
    """Attend with normed heads and rotation by halves of their first part; each head's query comes with its gate."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    turn = rotary(model, len(h))
    q, gate = np.split(split_heads(layer.linear("attn_q", h), model.heads), 2, axis=-1)  # [N, T, 2 D] -> 2 x [N, T, D]
    k = split_heads(layer.linear("attn_k", h), model.kv_heads)  # [K, T, D]
    v = split_heads(layer.linear("attn_v", h), model.kv_heads)  # [K, T, D]
    q = rotate_halves(rms_norm(q, layer["attn_q_norm.weight"], epsilon), turn)
    k = rotate_halves(rms_norm(k, layer["attn_k_norm.weight"], epsilon), turn)
    return layer.linear("attn_output", attend(q, k, v) * sigmoid(gate).swapaxes(0, 1).reshape(len(h), -1))


def delta_net(model: Weights, layer: Weights, h: Array) -> Array:  # [T, H] -> [T, H]
    """Gated delta net: the state decays, forgets what it holds under the key and takes in the value instead."""
    heads, size = model.key("ssm.time_step_rank"), model.key("ssm.state_size")
    groups, inner = model.key("ssm.group_count"), model.key("ssm.inner_size")
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    q, k, v = np.split(convolved(layer, layer.linear("attn_qkv", h)), [groups * size, 2 * groups * size], axis=-1)
    q, k, v = split_heads(q, groups), split_heads(k, groups), split_heads(v, heads)  # [G, T, N] twice, [S, T, M]
    q, k = (x / np.sqrt((x**2).sum(axis=-1, keepdims=True) + epsilon) for x in (q, k))
    decay = np.exp(softplus(layer.linear("ssm_alpha", h) + layer["ssm_dt.bias"]) * layer["ssm_a"])  # [T, S]
    beta = sigmoid(layer.linear("ssm_beta", h))  # [T, S]
    y = np.zeros_like(v)
    for head in range(heads):
        key = head % groups
        state = np.zeros((v.shape[2], size))  # [M, N]
        for position in range(len(h)):
            own = k[key, position]
            state = decay[position, head] * state
            state = state + beta[position, head] * np.outer(v[head, position] - state @ own, own)
            y[head, position] = state @ q[key, position] / np.sqrt(size)
    normed = rms_norm(y, layer["ssm_norm.weight"], epsilon).swapaxes(0, 1).reshape(len(h), inner)
    return layer.linear("ssm_out", normed * silu(layer.linear("attn_gate", h)))
