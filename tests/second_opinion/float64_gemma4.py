"""Float64 forward pass of Gemma 4: layers of different sizes, shared keys and values, inputs of layers, experts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.second_opinion.float64_blocks import (
    Array,
    Opinion,
    Weights,
    attend,
    gelu_tanh,
    rms_norm,
    rotate_halves,
    soft_cap,
    softmax,
    split_heads,
    turns,
)


def gemma4(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Gemma 4: norms around every branch, then what the token's own table gives this layer, then a scale."""
    epsilon, hidden = model.key("attention.layer_norm_rms_epsilon"), model.key("embedding_length")
    layers = model.layers
    windowed = model.key("attention.sliding_window_pattern")
    count = np.broadcast_to(model.key("attention.head_count_kv"), len(layers))
    own = len(layers) - model.key("attention.shared_kv_layers", 0)
    x = model["token_embd.weight"][list(tokens)] * np.sqrt(hidden)  # [T, H]
    inputs = layer_inputs(model, tokens, x)  # [T, layers, E]
    residuals = [x]
    lent: dict[bool, tuple[Array, Array]] = {}  # the last keys and values of layers with and without a window
    for number, layer in enumerate(layers):
        window = bool(windowed[number])
        turn = rotation(model, len(tokens), window)
        h = rms_norm(x, layer["attn_norm.weight"], epsilon)
        q = rms_norm(split_heads(layer.linear("attn_q", h), model.heads), layer["attn_q_norm.weight"], epsilon)
        if number < own:
            lent[window] = keys_and_values(layer, h, int(count[number]), turn, epsilon)
        seen = model.key("attention.sliding_window") if window else None
        mixed = layer.linear("attn_output", attend(rotate_halves(q, turn), *lent[window], scale=1.0, window=seen))
        x = x + rms_norm(mixed, layer["post_attention_norm.weight"], epsilon)
        x = x + rms_norm(feed_forward(model, layer, x), layer["post_ffw_norm.weight"], epsilon)
        if inputs is not None:
            gate = gelu_tanh(layer.linear("inp_gate", x)) * inputs[:, number]  # [T, E]
            x = x + rms_norm(layer.linear("proj", gate), layer["post_norm.weight"], epsilon)
        x = x * layer["layer_output_scale.weight"]
        residuals.append(x)
    final = rms_norm(x, model["output_norm.weight"], epsilon)
    return Opinion(soft_cap(model.logits(final), model.key("final_logit_softcapping")), residuals, final)


def layer_inputs(model: Weights, tokens: Sequence[int], x: Array) -> Array | None:  # -> [T, layers, E]
    """Mean (but for a factor) of the token's row in a table and of its projected embedding."""
    size = model.key("embedding_length_per_layer_input", 0)
    if not size:
        return None
    rows = model["per_layer_token_embd.weight"][list(tokens)].reshape(len(tokens), -1, size) * np.sqrt(size)
    projected = model.linear("per_layer_model_proj", x).reshape(len(tokens), -1, size) / np.sqrt(x.shape[1])
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    mean: Array = (rms_norm(projected, model["per_layer_proj_norm.weight"], epsilon) + rows) / np.sqrt(2)
    return mean


def rotation(model: Weights, length: int, window: bool) -> Array:  # [T, R / 2]
    """Turn by the base of the layer's kind; factors hold some pairs of layers without a window still."""
    size = model.key("attention.key_length_swa" if window else "attention.key_length")
    base = model.key("rope.freq_base_swa" if window else "rope.freq_base")
    angles = float(base) ** (-np.arange(0, size, 2) / size)
    return turns(angles if window else angles / model["rope_freqs.weight"], length)


def keys_and_values(layer: Weights, h: Array, count: int, turn: Array, epsilon: float) -> tuple[Array, Array]:
    """Return rotated keys and values [K, T, D], normed; without a matrix of values they are the projected keys."""
    k = split_heads(layer.linear("attn_k", h), count)  # [K, T, D]
    v = split_heads(layer.linear("attn_v", h), count) if "attn_v.weight" in layer else k
    ones = np.ones(v.shape[-1])
    return rotate_halves(rms_norm(k, layer["attn_k_norm.weight"], epsilon), turn), rms_norm(v, ones, epsilon)


def feed_forward(model: Weights, layer: Weights, x: Array) -> Array:  # [T, H] -> [T, H]
    """GELU in the gate; with experts both branches are normed before and behind, and added."""
    epsilon = model.key("attention.layer_norm_rms_epsilon")
    h = rms_norm(x, layer["ffn_norm.weight"], epsilon)
    dense = layer.linear("ffn_down", gelu_tanh(layer.linear("ffn_gate", h)) * layer.linear("ffn_up", h))
    if not model.key("expert_count", 0):
        return dense
    routed = rms_norm(x, layer["ffn_gate_inp.scale"], epsilon) / np.sqrt(x.shape[1])
    mixed = experts(model, layer, rms_norm(x, layer["pre_ffw_norm_2.weight"], epsilon), routed)
    dense = rms_norm(dense, layer["post_ffw_norm_1.weight"], epsilon)
    return dense + rms_norm(mixed, layer["post_ffw_norm_2.weight"], epsilon)


def experts(model: Weights, layer: Weights, h: Array, routed: Array) -> Array:  # [T, H] -> [T, H]
    """Add the answers of the most probable experts, by probability among them, each times its own scale."""
    mixed = np.zeros_like(h)
    for position, shares in enumerate(softmax(layer.linear("ffn_gate_inp", routed))):
        best = np.argsort(-shares, kind="stable")[: model.key("expert_used_count")]
        for expert in best:
            if "ffn_gate_up_exps.weight" in layer:
                gate, up = np.split(layer["ffn_gate_up_exps.weight"][expert] @ h[position], 2)
            else:
                gate, up = (layer[f"ffn_{part}_exps.weight"][expert] @ h[position] for part in ("gate", "up"))
            down = layer["ffn_down_exps.weight"][expert] @ (gelu_tanh(gate) * up) * layer["ffn_down_exps.scale"][expert]
            mixed[position] += shares[expert] / shares[best].sum() * down
    return mixed
