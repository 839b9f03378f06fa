"""Float64 passes of BERT and nomic-bert over a whole text; no code is shared with the package.

BERT is arXiv 1810.04805; nomic-bert turns heads (arXiv 2104.09864) and gates its feed-forward block (arXiv 2002.05202).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tests.second_opinion.float64_blocks import (
    Array,
    Weights,
    gelu_tanh,
    layer_norm,
    rotary,
    rotate_halves,
    silu,
    softmax,
    split_heads,
)


def rows(model: Weights, tokens: Sequence[int], gelu: Callable[[Array], Array] = gelu_tanh) -> list[Array]:
    """Return the rows [T, H] behind the embedding and behind each layer."""
    x = model["token_embd.weight"][list(tokens)] + model["token_types.weight"][0]  # [T, H]
    if "position_embd.weight" in model:
        x = x + model["position_embd.weight"][: len(tokens)]
    found = [normed(model, "token_embd_norm", x)]
    for layer in model.layers:
        x = found[-1]
        x = normed(model, f"{layer.prefix}attn_output_norm", x + layer.linear("attn_output", mixed(model, layer, x)))
        if "ffn_gate.weight" in layer:
            hidden = silu(layer.linear("ffn_gate", x)) * layer.linear("ffn_up", x)
        else:
            hidden = gelu(layer.linear("ffn_up", x))
        found.append(normed(model, f"{layer.prefix}layer_output_norm", x + layer.linear("ffn_down", hidden)))
    return found


def normed(model: Weights, name: str, x: Array) -> Array:
    epsilon = model.key("attention.layer_norm_epsilon")
    return layer_norm(x, epsilon, model.tensors[f"{name}.weight"], model.tensors[f"{name}.bias"])


def mixed(model: Weights, layer: Weights, x: Array) -> Array:  # [T, H] -> [T, N * D]
    """Mix the values of all positions, the later ones too."""
    parts = (
        np.split(layer.linear("attn_qkv", x), 3, axis=-1)
        if "attn_qkv.weight" in layer
        else [layer.linear(f"attn_{letter}", x) for letter in "qkv"]
    )
    q, k, v = (split_heads(part, model.heads) for part in parts)  # [N, T, D]
    if "position_embd.weight" not in model:
        turn = rotary(model, len(x))
        q, k = rotate_halves(q, turn), rotate_halves(k, turn)
    shares = softmax(scores(q, k))  # [N, T, T]
    return (shares @ v).swapaxes(0, 1).reshape(len(x), -1)


def scores(q: Array, k: Array) -> Array:  # [N, T, D] twice -> [N, T, T]
    found: Array = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
    return found


def pool(x: Array, how: str) -> Array:  # [T, H] -> [H], or [T, H]
    """Make one row of all, as the name says."""
    if how == "mean":
        mean: Array = x.mean(axis=0)
        return mean
    return x if how == "none" else x[0 if how == "cls" else -1]
