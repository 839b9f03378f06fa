"""Float64 building blocks of decoder models, read from a GGUF file; no code is shared with the package.

Everything works on a whole sequence at once. Letters of the shape comments: T positions, H hidden size, N heads,
K key/value heads, D head size, F feed-forward size, E experts, V vocabulary size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class Opinion:
    """Logits [T, V], the residual stream [T, H] after the embedding and after each layer, and its final norm [T, H]."""

    logits: Array
    residuals: list[Array]
    final: Array


@dataclass(frozen=True)
class Weights:
    """Float64 tensors under GGUF names ([out, in] for matrices) and the metadata of one file.

    `prefix` is put before every tensor name: `model.layer(2)["attn_q.weight"]` is `blk.2.attn_q.weight`.
    """

    metadata: Mapping[str, Any]
    tensors: Mapping[str, Array]
    prefix: str = field(default="")

    @property
    def architecture(self) -> str:
        return str(self.metadata["general.architecture"])

    def key(self, name: str, default: Any = None) -> Any:
        """Return a hyper-parameter of the architecture; KeyError without a default."""
        full = f"{self.architecture}.{name}"
        return self.metadata[full] if default is None else self.metadata.get(full, default)

    def layer(self, index: int) -> Weights:
        return replace(self, prefix=f"blk.{index}.")

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.tensors

    def __getitem__(self, name: str) -> Array:
        return self.tensors[self.prefix + name]

    def linear(self, name: str, x: Array) -> Array:  # [..., in] -> [..., out]
        """Multiply with a matrix and, where the file has one, add its bias."""
        y = x @ self[f"{name}.weight"].T
        return y + self[f"{name}.bias"] if f"{name}.bias" in self else y

    @property
    def layers(self) -> list[Weights]:
        return [self.layer(index) for index in range(self.key("block_count"))]

    @property
    def heads(self) -> int:
        return int(self.key("attention.head_count"))

    @property
    def kv_heads(self) -> int:
        return int(self.key("attention.head_count_kv", self.heads))

    @property
    def head_dim(self) -> int:
        return int(self.key("attention.key_length", self.key("embedding_length") // self.heads))

    def logits(self, x: Array) -> Array:  # [T, H] -> [T, V]
        """Project on the vocabulary; without a head of its own the model uses its embeddings."""
        return self.linear("output" if "output.weight" in self else "token_embd", x)


def read_weights(path: Path) -> Weights:
    """Read a GGUF file; quantized tensors are dequantized."""
    reader = gguf.GGUFReader(path)
    metadata = {name: entry.contents() for name, entry in reader.fields.items()}
    tensors = {
        tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float64) for tensor in reader.tensors
    }
    return Weights(metadata, tensors)


# Norms and activations


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    size: Array = np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon)
    return x / size * weight


def layer_norm(x: Array, epsilon: float, weight: Array | float = 1.0, bias: Array | float = 0.0) -> Array:
    centred: Array = x - x.mean(axis=-1, keepdims=True)
    size: Array = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    normed: Array = centred / size * weight + bias
    return normed


def silu(x: Array) -> Array:
    gate: Array = x / (1 + np.exp(-x))
    return gate


def gelu_tanh(x: Array) -> Array:
    cubic: Array = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return x / 2 * (1 + cubic)


def gelu_erf(x: Array) -> Array:
    probability: Array = np.vectorize(math.erf)(x / math.sqrt(2))
    return x / 2 * (1 + probability)


def squared_relu(x: Array) -> Array:
    positive: Array = np.maximum(x, 0)
    return positive**2


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    shares: Array = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def soft_cap(x: Array, cap: float) -> Array:
    share: Array = np.tanh(x / cap)
    return cap * share


# Rotary embedding


def frequencies(model: Weights, base: float | None = None) -> Array:  # [R / 2] for R rotated values of each head
    """Return the angle per position of every pair, before any scaling."""
    rotated = model.key("rope.dimension_count", model.head_dim)
    base = model.key("rope.freq_base", 10000.0) if base is None else base
    angles: Array = float(base) ** (-np.arange(0, rotated, 2) / rotated)
    return angles


def turns(angles: Array, length: int, size: float = 1.0) -> Complex:  # [R / 2] -> [T, R / 2]
    """Return for each position and pair the complex number that turns it; `size` also stretches."""
    turn: Complex = size * np.exp(1j * np.outer(np.arange(length), angles))
    return turn


def rotary(model: Weights, length: int, whole_pairs: bool = True) -> Complex:  # [T, R / 2]
    """Return the turns with the scaling that the file asks for: factors of Llama 3.1, linear, YaRN, or none.

    The paper's code rounds the range of YaRN outwards to `whole_pairs`; some published models do not.
    """
    angles = frequencies(model)  # [R / 2]
    if "rope_freqs.weight" in model:
        angles = angles / model["rope_freqs.weight"]
    kind = model.key("rope.scaling.type", "none")
    if kind == "none":
        return turns(angles, length)
    factor = model.key("rope.scaling.factor")
    if kind == "linear":
        return turns(angles / factor, length)
    assert kind == "yarn", kind
    # YaRN (arXiv 2309.00071): pairs that turn often in the trained context stay, those that turn rarely are stretched
    context = model.key("rope.scaling.original_context_length")
    base = model.key("rope.freq_base", 10000.0)

    def pair_that_turns(times: float) -> float:
        return len(angles) * math.log(context / (2 * math.pi * times)) / math.log(base)

    first = pair_that_turns(model.key("rope.scaling.yarn_beta_fast", 32.0))
    last = pair_that_turns(model.key("rope.scaling.yarn_beta_slow", 1.0))
    if whole_pairs:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * len(angles) - 1)
    stretched = np.clip((np.arange(len(angles)) - first) / max(last - first, 0.001), 0, 1)  # [R / 2], 0 .. 1
    angles = angles * (1 - stretched) + angles / factor * stretched
    size, multiplier = 0.1 * math.log(factor), model.key("rope.scaling.yarn_log_multiplier", 0.0)
    return turns(angles, length, size=(1 + size) / (1 + multiplier * size))


def rotate_adjacent(x: Array, turn: Complex) -> Array:  # [N, T, D] -> [N, T, D]
    """Turn the pairs (0, 1), (2, 3), ...; values beyond the rotated ones pass."""
    size = 2 * turn.shape[1]
    turned = (x[..., 0:size:2] + 1j * x[..., 1:size:2]) * turn
    pairs = np.stack([turned.real, turned.imag], axis=-1).reshape(*x.shape[:-1], size)
    return np.concatenate([pairs, x[..., size:]], axis=-1)


def rotate_halves(x: Array, turn: Complex) -> Array:  # [N, T, D] -> [N, T, D]
    """Turn the pairs (0, R / 2), (1, R / 2 + 1), ...; values beyond the rotated ones pass."""
    half = turn.shape[1]
    turned = (x[..., :half] + 1j * x[..., half : 2 * half]) * turn
    return np.concatenate([turned.real, turned.imag, x[..., 2 * half :]], axis=-1)


# Attention and feed-forward


def split_heads(x: Array, count: int) -> Array:  # [T, N * D] -> [N, T, D]
    return x.reshape(len(x), count, -1).swapaxes(0, 1)


def attend(
    q: Array,  # [N, T, D]
    k: Array,  # [K, T, D]
    v: Array,  # [K, T, D]
    scale: float | None = None,
    window: int | None = None,
    cap: float | None = None,
    sinks: Array | None = None,  # [N]
) -> Array:  # [T, N * D]
    """Mix the values that each position sees: itself and earlier ones, at most `window` of them.

    A sink is one more score in every row, with a value of 0.
    """
    heads, length, head_dim = q.shape
    k, v = (np.repeat(rows, heads // len(rows), axis=0) for rows in (k, v))  # [K, T, D] -> [N, T, D]
    scores = q @ k.swapaxes(1, 2) * (1 / math.sqrt(head_dim) if scale is None else scale)  # [N, T, T]
    if cap is not None:
        scores = soft_cap(scores, cap)
    distance = np.subtract.outer(np.arange(length), np.arange(length))  # [T, T], how far a key lies back
    seen = (distance >= 0) & (distance < (length if window is None else window))
    scores = np.where(seen, scores, -np.inf)
    if sinks is not None:
        scores = np.concatenate([scores, np.broadcast_to(sinks[:, None, None], (heads, length, 1))], axis=-1)
    mixed = softmax(scores)[:, :, :length] @ v  # [N, T, D]
    return mixed.swapaxes(0, 1).reshape(length, -1)


def swiglu(layer: Weights, h: Array) -> Array:  # [T, H] -> [T, H]
    gate, up = layer.linear("ffn_gate", h), layer.linear("ffn_up", h)  # [T, F]
    return layer.linear("ffn_down", silu(gate) * up)


def experts(layer: Weights, h: Array, used: int, renormalise: bool) -> Array:  # [T, H] -> [T, H]
    """Send each position to its `used` most probable experts and add their answers by probability."""
    probabilities = softmax(layer.linear("ffn_gate_inp", h))  # [T, E]
    mixed = np.zeros_like(h)
    for position, shares in enumerate(probabilities):
        best = np.argsort(-shares, kind="stable")[:used]
        total = shares[best].sum() if renormalise else 1.0
        for expert in best:
            gate = layer["ffn_gate_exps.weight"][expert] @ h[position]  # [H] -> [F]
            up = layer["ffn_up_exps.weight"][expert] @ h[position]  # [H] -> [F]
            down = layer["ffn_down_exps.weight"][expert] @ (silu(gate) * up)  # [F] -> [H]
            mixed[position] += shares[expert] / total * down
    return mixed
