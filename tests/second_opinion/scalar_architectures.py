"""Every architecture in float32 as section 11 and GG-11 order it: one position at a time, every sum in index order.

It shares no code with the package except that the elementary functions are handed in. What a model has is told by its
tensors and keys: a bias if there is one, a norm where there is one; only what files do not tell goes by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

f = np.float32
Vector = NDArray[np.float32]
Unary = Callable[[Vector], Vector]

SIDE_BY_SIDE = {"llama", "smollm3", "granite", "olmo", "command-r"}
WINDOW_PERIOD = {"gemma2": 2, "gemma3": 6, "olmo2": 4}
GELU = {"gemma", "gemma2", "gemma3", "gpt2", "gptneox", "phi2", "starcoder2"}
ALWAYS_PARALLEL = {"command-r", "phi2"}


def added(values: Sequence[np.float32] | Vector) -> np.float32:
    """Add from 0.0 in index order; each step of `accumulate` is one rounded addition."""
    return f(np.add.accumulate(np.concatenate([[f(0)], np.asarray(values, f)]), dtype=f)[-1])


def times(matrix: Vector, x: Vector) -> Vector:
    """Multiply a matrix [out, in] by a vector, row by row."""
    return np.array([added(row * x) for row in matrix], f)


@dataclass
class Functions:
    """The elementary functions of FW-8."""

    exp: Unary
    sin: Unary
    cos: Unary
    tanh: Unary
    power: Callable[[Vector, Vector], Vector]


class Model:
    """One model with the keys and values of the positions so far."""

    def __init__(
        self, architecture: str, metadata: Mapping[str, Any], tensors: Mapping[str, Vector], functions: Functions
    ) -> None:
        self.name, self.metadata, self.tensors, self.functions = architecture, metadata, tensors, functions
        self.hidden, self.layers = int(self.key("embedding_length")), int(self.key("block_count"))
        self.heads = int(self.key("attention.head_count"))
        self.head_dim = int(self.key("attention.key_length", self.hidden // self.heads))
        kv_heads = self.key("attention.head_count_kv", self.heads)
        self.kv_heads = int(max(kv_heads) if isinstance(kv_heads, list) else kv_heads)
        self.keys: list[list[Vector]] = [[] for _ in range(self.layers)]  # [position] -> [K, D]
        self.values: list[list[Vector]] = [[] for _ in range(self.layers)]
        self.gated: list[list[Vector]] = [[] for _ in range(self.layers)]  # [position] -> [H], short convolutions

    def key(self, name: str, default: Any = None) -> Any:
        full = f"{self.name}.{name}"
        return self.metadata[full] if default is None else self.metadata.get(full, default)

    def linear(self, name: str, x: Vector) -> Vector:
        y = times(self.tensors[f"{name}.weight"], x)
        return y + self.tensors[f"{name}.bias"] if f"{name}.bias" in self.tensors else y

    def norm(self, name: str, x: Vector) -> Vector:
        """Apply the norm of this name, or none if the model has none of this name."""
        weight, bias = (self.tensors.get(f"{name}.{part}") for part in ("weight", "bias"))
        count = f(len(x))
        if f"{self.name}.attention.layer_norm_epsilon" in self.metadata:
            if weight is None and self.name != "olmo":
                return x
            centred = x - added(x) / count
            inverse = f(1) / np.sqrt(added(centred * centred) / count + f(self.key("attention.layer_norm_epsilon")))
            y = centred * inverse
            y = y if weight is None else y * weight
            return y if bias is None else y + bias
        if weight is None:
            return x
        inverse = f(1) / np.sqrt(added(x * x) / count + f(self.key("attention.layer_norm_rms_epsilon")))
        return x * inverse * weight

    def window(self, layer: int) -> int:
        period = WINDOW_PERIOD.get(self.name, 0)
        windowed = self.key("attention.sliding_window_pattern", [])
        if not (windowed[layer] if windowed else period and layer % period != period - 1):
            return 0
        return int(self.key("attention.sliding_window", 0))

    def rotate(self, head: Vector, position: int, layer: int) -> Vector:
        """Rotate the pairs of one head."""
        if self.name == "gpt2" or (self.name == "smollm3" and layer % 4 == 3):
            return head
        count = int(self.key("rope.dimension_count", self.head_dim))
        base, stretch = f(self.key("rope.freq_base", 10000.0)), f(1)
        if self.key("rope.scaling.type", "none") == "linear":
            stretch = f(1) / f(self.key("rope.scaling.factor"))
        if self.window(layer) and self.name == "gemma3":
            base, stretch = f(self.key("rope.freq_base_swa", 10000.0)), f(1)
        pairs = np.arange(0, count, 2).astype(f)
        frequencies = f(1) / self.functions.power(np.full_like(pairs, base), pairs / f(count))
        angles = f(position) * frequencies
        long = int(self.key("context_length")) > int(self.key("rope.scaling.original_context_length", 1 << 30))
        for name in ("rope_freqs", f"rope_factors_{'long' if long else 'short'}"):
            if f"{name}.weight" in self.tensors:
                angles = angles / self.tensors[f"{name}.weight"]
        magnitude = f(self.key("rope.scaling.attn_factor", 1.0))
        if self.key("rope.scaling.type", "none") == "yarn" and not (self.window(layer) and self.name == "olmo2"):
            factor = float(self.key("rope.scaling.factor"))
            ramp, magnitude = self.yarn_ramp(count, float(base)), f(1 + 0.1 * math.log(factor))
            angles = f(1) / f(factor) * angles * (f(1) - ramp) + angles * ramp
        elif stretch != 1:
            angles = stretch * angles
        cosines, sines = self.functions.cos(angles), self.functions.sin(angles)
        if magnitude != 1:
            cosines, sines = cosines * magnitude, sines * magnitude
        first = np.arange(0, count, 2) if self.name in SIDE_BY_SIDE else np.arange(count // 2)
        second = first + 1 if self.name in SIDE_BY_SIDE else first + count // 2
        turned = head.copy()
        turned[first] = head[first] * cosines - head[second] * sines
        turned[second] = head[first] * sines + head[second] * cosines
        return turned

    def yarn_ramp(self, count: int, base: float) -> Vector:
        """Say how far each pair keeps its own angle: 1 if it turns more than 32 times in the trained context."""
        trained = int(self.key("rope.scaling.original_context_length"))

        def pair_with(turns: float) -> float:  # base^(-2 pair / count) * trained = 2 pi turns
            return count / 2 * math.log(trained / (2 * math.pi * turns)) / math.log(base)

        low, high = max(0, math.floor(pair_with(32))), min(count - 1, math.ceil(pair_with(1)))
        width = max(0.001, high - low)
        return np.array([1 - min(1.0, max(0.0, (pair - low) / width)) for pair in range(count // 2)], f)

    def heads_of(self, name: str, row: Vector, position: int, layer: int) -> Vector:
        """Normalise, by head or by row as the length of the weight tells, and rotate: -> [heads, D]."""
        weight = self.tensors.get(f"{name}_norm.weight")
        if weight is not None and len(weight) == len(row):
            row = self.norm(f"{name}_norm", row)
        heads = row.reshape(-1, self.head_dim)
        if weight is not None and len(weight) != len(row):
            heads = np.array([self.norm(f"{name}_norm", head) for head in heads], f)
        return np.array([self.rotate(head, position, layer) for head in heads], f)

    def attention(self, layer: int, h: Vector) -> Vector:
        block, position = f"blk.{layer}.", len(self.keys[layer])
        if f"{block}attn_qkv.weight" in self.tensors:
            sizes = np.cumsum([self.heads * self.head_dim, self.kv_heads * self.head_dim])
            q, k, v = np.split(self.linear(f"{block}attn_qkv", h), sizes)
        else:
            q, k, v = (self.linear(f"{block}attn_{letter}", h) for letter in "qkv")
        if limit := f(self.key("attention.clamp_kqv", 0.0)):
            q, k, v = (np.minimum(np.maximum(row, -limit), limit) for row in (q, k, v))
        queries = self.heads_of(f"{block}attn_q", q, position, layer)
        self.keys[layer].append(self.heads_of(f"{block}attn_k", k, position, layer))
        self.values[layer].append(v.reshape(-1, self.head_dim))
        window = self.window(layer)
        seen = range(max(0, position + 1 - window) if window else 0, position + 1)
        scale = f(self.key("attention.scale", 0.0)) or f(1) / np.sqrt(f(self.head_dim))
        cap = f(self.key("attn_logit_softcapping", 0.0))
        mixed = []
        for head, query in enumerate(queries):
            group = head // (self.heads // self.kv_heads)
            scores = np.array([added(query * self.keys[layer][t][group]) * scale for t in seen], f)
            if cap:
                scores = cap * self.functions.tanh(scores / cap)
            raised = self.functions.exp(scores - scores.max())
            shares = raised / added(raised)
            terms = np.array([p * self.values[layer][t][group] for p, t in zip(shares, seen, strict=True)], f)
            mixed.extend(added(column) for column in terms.T)
        return self.linear(f"{block}attn_output", np.array(mixed, f))

    def convolution(self, layer: int, h: Vector) -> Vector:
        block = f"blk.{layer}.shortconv."
        b, c, x = np.split(self.linear(f"{block}in_proj", h), 3)
        self.gated[layer].append(b * x)
        kernel = self.tensors[f"{block}conv.weight"]  # [H, L]
        length = kernel.shape[1]
        past = [np.zeros(self.hidden, f)] * length + self.gated[layer]
        terms = np.array([past[len(past) - length + j] * kernel[:, j] for j in range(length)], f)
        return self.linear(f"{block}out_proj", c * np.array([added(column) for column in terms.T], f))

    def activation(self, x: Vector) -> Vector:
        if self.name == "nemotron":
            positive = np.maximum(x, f(0))
            return positive * positive
        if self.name in GELU:
            inner = f(math.sqrt(2 / math.pi)) * x * (f(1) + f(0.044715) * x * x)
            return f(0.5) * x * (f(1) + self.functions.tanh(inner))
        return x / (f(1) + self.functions.exp(-x))

    def feed_forward(self, layer: int, h: Vector) -> Vector:
        block = f"blk.{layer}."
        if f"{block}ffn_gate_inp.weight" in self.tensors:
            return self.experts(block, h)
        up = self.linear(f"{block}ffn_up", h)
        if self.name == "phi3":
            gate, up = np.split(up, 2)
            return self.linear(f"{block}ffn_down", self.activation(gate) * up)
        if f"{block}ffn_gate.weight" in self.tensors:
            return self.linear(f"{block}ffn_down", self.activation(self.linear(f"{block}ffn_gate", h)) * up)
        return self.linear(f"{block}ffn_down", self.activation(up))

    def experts(self, block: str, h: Vector) -> Vector:
        scores = self.linear(f"{block}ffn_gate_inp", h)
        raised = self.functions.exp(scores - scores.max())
        shares = raised / added(raised)
        chosen = sorted(range(len(shares)), key=lambda expert: (-shares[expert], expert))
        chosen = chosen[: int(self.key("expert_used_count"))]
        weights = shares[chosen]
        if self.name == "qwen3moe":
            weights = weights / max(added(weights), f(2.0**-14))
        terms = []
        for expert, weight in zip(chosen, weights, strict=True):
            gate, up, down = (self.tensors[f"{block}ffn_{part}_exps.weight"][expert] for part in ("gate", "up", "down"))
            terms.append(times(down, self.activation(times(gate, h)) * times(up, h)) * weight)
        return np.array([added(column) for column in np.array(terms, f).T], f)

    def forward(self, token: int) -> Vector:
        """Forward the token at the next position: -> logits [V]."""
        x = self.tensors["token_embd.weight"][token]
        if self.name.startswith("gemma"):
            x = x * np.sqrt(f(self.hidden))
        x = x * f(self.key("embedding_scale", 1.0))
        if "position_embd.weight" in self.tensors:
            x = x + self.tensors["position_embd.weight"][len(self.keys[0])]
        factor = f(self.key("residual_scale", 1.0))
        parallel = self.name in ALWAYS_PARALLEL or (self.name == "gptneox" and self.key("use_parallel_residual"))
        parallel |= self.name == "stablelm" and "blk.0.ffn_norm.weight" not in self.tensors
        for layer in range(self.layers):
            block, source = f"blk.{layer}.", x
            h = self.norm(f"{block}attn_norm", x)
            convolves = f"{block}shortconv.conv.weight" in self.tensors
            update = self.convolution(layer, h) if convolves else self.attention(layer, h)
            x = x + self.norm_behind(f"{block}post_attention_norm", update) * factor
            if not parallel:
                h = self.norm(f"{block}ffn_norm", x)
            elif f"{block}ffn_norm.weight" in self.tensors:
                h = self.norm(f"{block}ffn_norm", source)
            x = x + self.norm_behind(f"{block}post_ffw_norm", self.feed_forward(layer, h)) * factor
        h = self.norm("token_embd_norm" if self.name == "lfm2" else "output_norm", x)
        logits = self.linear("output" if "output.weight" in self.tensors else "token_embd", h)
        if self.name == "granite":
            logits = logits / f(self.key("logit_scale"))
        elif "logit_scale" in str(self.metadata.keys()):
            logits = logits * f(self.key("logit_scale"))
        cap = f(self.key("final_logit_softcapping", 0.0))
        return cap * self.functions.tanh(logits / cap) if cap else logits

    def norm_behind(self, name: str, update: Vector) -> Vector:
        return self.norm(name, update) if f"{name}.weight" in self.tensors else update
