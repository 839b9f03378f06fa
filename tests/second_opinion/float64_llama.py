"""A second opinion on the forward pass: the llama formulas in float64, sharing no code with the package.

Written from the formulas alone (contract section 11): RMSNorm before each branch, rotary embedding on adjacent pairs,
causal attention with shared key/value heads, SwiGLU. The whole sequence is computed at once with matrix products, so
even the shape of the computation differs from a position-by-position loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def float64_logits(
    weights: Mapping[str, NDArray[np.floating]],
    tokens: Sequence[int],
    *,
    heads: int,
    kv_heads: int | None = None,
    rope_theta: float = 10000.0,
    rms_epsilon: float = 1e-5,
    rope_factors: Sequence[float] | None = None,
) -> Array:
    """Return the logits [T, V] of token ids [T].

    `weights` are row-major [out, in] arrays under the tensor names of SL-3; without `output.weight` the embeddings
    project. `rope_factors` (one per pair) divide the rotary frequencies.
    """
    w = {name: np.asarray(array, dtype=np.float64) for name, array in weights.items()}
    kv_heads = heads if kv_heads is None else kv_heads
    x = w["tok_embeddings.weight"][list(tokens)]  # [T, H]
    length = len(x)
    head_dim = w["layers.0.wq.weight"].shape[0] // heads
    frequencies = rope_theta ** (-np.arange(0, head_dim, 2) / head_dim) / np.asarray(
        1.0 if rope_factors is None else rope_factors
    )
    turns = np.exp(1j * np.outer(np.arange(length), frequencies))  # [T, D / 2], unit complex numbers
    future = np.triu(np.full((length, length), -np.inf), k=1)  # [T, T], keeps later positions out

    def normed(rows: Array, weight: Array) -> Array:
        size: Array = np.sqrt(np.mean(rows**2, axis=-1, keepdims=True) + rms_epsilon)
        return rows / size * weight

    def rotated(rows: Array, count: int) -> Array:  # [T, count * D] -> [count, T, D]
        pairs = rows.reshape(length, count, head_dim // 2, 2)
        turned = (pairs[..., 0] + 1j * pairs[..., 1]) * turns[:, None, :]  # a pair is a complex number
        return np.stack([turned.real, turned.imag], axis=-1).reshape(length, count, head_dim).swapaxes(0, 1)

    for n in range(sum(name.endswith(".wq.weight") for name in w)):
        layer = {name.split(".")[2]: array for name, array in w.items() if name.startswith(f"layers.{n}.")}
        h = normed(x, layer["attn_norm"])
        q = rotated(h @ layer["wq"].T, heads)  # [heads, T, D]
        k = np.repeat(rotated(h @ layer["wk"].T, kv_heads), heads // kv_heads, axis=0)  # [heads, T, D]
        v = (h @ layer["wv"].T).reshape(length, kv_heads, head_dim).swapaxes(0, 1)
        scores = q @ k.swapaxes(1, 2) / np.sqrt(head_dim) + future  # [heads, T, T]
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        attended = shares @ np.repeat(v, heads // kv_heads, axis=0)  # [heads, T, D]
        x = x + attended.swapaxes(0, 1).reshape(length, -1) @ layer["wo"].T
        h = normed(x, layer["ffn_norm"])
        gate = h @ layer["w1"].T  # [T, F]
        x = x + (gate / (1 + np.exp(-gate)) * (h @ layer["w3"].T)) @ layer["w2"].T
    output = w.get("output.weight", w["tok_embeddings.weight"])  # [V, H]
    logits: Array = normed(x, w["norm.weight"]) @ output.T
    return logits
