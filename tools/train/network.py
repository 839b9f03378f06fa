"""The network of contract section 11 in PyTorch, as one function of a dictionary of named weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

Weights = dict[str, Tensor]

BLOCK = 32  # values that share one scale in q4_0


@dataclass(frozen=True)
class HyperParameters:
    """Sizes of one model, under the names of the SLM1 header (contract section 10)."""

    vocab_size: int
    tied_output: bool
    hidden_size: int = 64
    layer_count: int = 4
    head_count: int = 4
    kv_head_count: int = 4
    head_dim: int = 16
    ffn_size: int = 192
    max_context: int = 256
    rope_theta: float = 10000.0
    rms_norm_epsilon: float = 1e-5


def initial_weights(sizes: HyperParameters, seed: int) -> Weights:
    """Return random float32 weights under the tensor names of contract rule SL-3, row-major [out, in]."""
    generator = torch.Generator().manual_seed(seed)
    hidden, ffn = sizes.hidden_size, sizes.ffn_size
    residual = 1 / math.sqrt(2 * sizes.layer_count)  # keeps the sum of all residual branches at unit size

    def matrix(rows: int, columns: int, deviation: float) -> Tensor:
        return torch.randn(rows, columns, generator=generator) * deviation

    weights = {"tok_embeddings.weight": matrix(sizes.vocab_size, hidden, 0.1), "norm.weight": torch.ones(hidden)}
    if not sizes.tied_output:
        weights["output.weight"] = matrix(sizes.vocab_size, hidden, 1 / math.sqrt(hidden))
    for layer in range(sizes.layer_count):
        prefix = f"layers.{layer}."
        weights[prefix + "attn_norm.weight"] = torch.ones(hidden)
        weights[prefix + "ffn_norm.weight"] = torch.ones(hidden)
        for name in ("wq", "wk", "wv"):
            weights[f"{prefix}{name}.weight"] = matrix(hidden, hidden, 1 / math.sqrt(hidden))
        weights[prefix + "wo.weight"] = matrix(hidden, hidden, residual / math.sqrt(hidden))
        for name in ("w1", "w3"):
            weights[f"{prefix}{name}.weight"] = matrix(ffn, hidden, 1 / math.sqrt(hidden))
        weights[prefix + "w2.weight"] = matrix(hidden, ffn, residual / math.sqrt(ffn))
    return weights


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Scale each row to unit root mean square, then by the weight (FW-3)."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight


def rotate_pairs(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate the adjacent pairs (2i, 2i+1) of each head by position x frequency (FW-5); x is [B, heads, T, D]."""
    even, odd = x[..., 0::2], x[..., 1::2]  # [B, heads, T, D / 2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)


def forward(sizes: HyperParameters, weights: Weights, tokens: Tensor) -> Tensor:
    """Return the logits [B, T, V] of token ids [B, T]."""
    batch, length = tokens.shape
    half = torch.arange(0, sizes.head_dim, 2, dtype=torch.float32)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), sizes.rope_theta ** (-half / sizes.head_dim))
    cosine, sine = angles.cos(), angles.sin()  # [T, D / 2]

    def split_heads(y: Tensor) -> Tensor:  # [B, T, H] -> [B, heads, T, D]
        return y.view(batch, length, sizes.head_count, sizes.head_dim).transpose(1, 2)

    x = functional.embedding(tokens, weights["tok_embeddings.weight"])  # [B, T] -> [B, T, H]
    for layer in range(sizes.layer_count):
        w = {name: weights[f"layers.{layer}.{name}.weight"] for name in ("wq", "wk", "wv", "wo", "w1", "w2", "w3")}
        h = rms_norm(x, weights[f"layers.{layer}.attn_norm.weight"], sizes.rms_norm_epsilon)
        query = rotate_pairs(split_heads(h @ w["wq"].T), cosine, sine)
        key = rotate_pairs(split_heads(h @ w["wk"].T), cosine, sine)
        attended = functional.scaled_dot_product_attention(query, key, split_heads(h @ w["wv"].T), is_causal=True)
        x = x + attended.transpose(1, 2).reshape(batch, length, sizes.hidden_size) @ w["wo"].T
        h = rms_norm(x, weights[f"layers.{layer}.ffn_norm.weight"], sizes.rms_norm_epsilon)
        x = x + (functional.silu(h @ w["w1"].T) * (h @ w["w3"].T)) @ w["w2"].T
    head = weights["tok_embeddings.weight" if sizes.tied_output else "output.weight"]
    return rms_norm(x, weights["norm.weight"], sizes.rms_norm_epsilon) @ head.T  # [B, T, V]


def quantize(weight: Tensor, dtype: str) -> Tensor:
    """Return a weight as it reads back from `f32`, `q8_0` (one scale a row) or `q4_0` (one scale a block of 32)."""
    if dtype == "f32":
        return weight
    groups = weight.reshape(-1, weight.shape[-1] if dtype == "q8_0" else BLOCK)
    limit = 127 if dtype == "q8_0" else 7
    scale = groups.abs().amax(-1, keepdim=True).clamp_min(1e-30) / limit
    return ((groups / scale).round() * scale).reshape(weight.shape)


def quantize_all(weights: Weights, dtype: str) -> Weights:
    """Quantise every tensor, norms too; the gradient passes through as if nothing was rounded."""
    if dtype == "f32":
        return weights
    return {name: weight + (quantize(weight, dtype) - weight).detach() for name, weight in weights.items()}
