"""Every architecture in float32 as section 11, GG-11, GG-14 order it: one position at a time, sums in index order.

It shares no code with the package except that the elementary functions are handed in. What a model has is told by its
tensors and keys: a bias if there is one, a norm where there is one; only what files do not tell goes by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.second_opinion.scalar_recurrence import Recurrence, added, sigmoid, softplus, unit_norm

f = np.float32
Vector = NDArray[np.float32]
Unary = Callable[[Vector], Vector]

SIDE_BY_SIDE = {"llama", "smollm3", "granite", "olmo", "command-r", "cohere2", "ernie4_5", "granitehybrid", "minicpm",
                "mistral3"}  # fmt: skip
WINDOW_PERIOD = {"gemma2": 2, "gemma3": 6, "olmo2": 4, "cohere2": 4, "gpt-oss": 2}
GELU = {"gemma", "gemma2", "gemma3", "gpt2", "gptneox", "phi2", "starcoder2"}
BEFORE_FEED_FORWARD = {"gpt-oss", "qwen35", "qwen35moe"}
"""Their norm with the name of one behind attention reads the residual stream."""
ALWAYS_PARALLEL = {"command-r", "cohere2", "phi2"}
DIVIDED_LOGITS = {"granite", "granitehybrid", "minicpm"}


def times(matrix: Vector, x: Vector) -> Vector:
    """Multiply a matrix [out, in] by a vector: the sums of all rows from 0.0 in index order, side by side."""
    products = np.asarray(matrix * x, f)  # [out, in]
    return np.add.accumulate(np.hstack([np.zeros((len(products), 1), f), products]), axis=1, dtype=f)[:, -1]


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
        heads, groups, size, inner = (
            int(self.metadata.get(f"{architecture}.ssm.{name}", 1))
            for name in ("time_step_rank", "group_count", "state_size", "inner_size")
        )
        self.states = [Recurrence(heads, groups, size, inner, functions.exp) for _ in range(self.layers)]

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
        if (self.name == "cohere2" and not self.window(layer)) or not self.key("rope.scaling.finetuned", True):
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
            size, multiplier = 0.1 * math.log(factor), float(f(self.key("rope.scaling.yarn_log_multiplier", 0.0)))
            ramp, magnitude = self.yarn_ramp(count, float(base)), f((1 + size) / (1 + multiplier * size))
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

        often, rarely = self.key("rope.scaling.yarn_beta_fast", 32.0), self.key("rope.scaling.yarn_beta_slow", 1.0)
        low, high = max(0, math.floor(pair_with(often))), min(count - 1, math.ceil(pair_with(rarely)))
        width = max(0.001, high - low)
        return np.array([1 - min(1.0, max(0.0, (pair - low) / width)) for pair in range(count // 2)], f)

    def heads_of(self, name: str, row: Vector, position: int, layer: int) -> Vector:
        """Normalise, by head or by row as the length of the weight tells, and rotate: -> [heads, D].

        Hunyuan rotates first.
        """
        if self.name == "hunyuan-dense":
            turned = [self.rotate(head, position, layer) for head in row.reshape(-1, self.head_dim)]
            return np.array([self.norm(f"{name}_norm", head) for head in turned], f)
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
        gates = None
        if self.name.startswith("qwen35"):  # each head: its query, then its gate
            q, gates = np.moveaxis(q.reshape(self.heads, 2, self.head_dim), 1, 0)
        queries = self.heads_of(f"{block}attn_q", q.reshape(-1), position, layer)
        if growth := float(f(self.key("attention.temperature_scale", 0.0))):
            trained = int(self.key("rope.scaling.original_context_length"))
            queries = queries * f(1 + growth * math.log(1 + position // trained))
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
            sink = self.tensors.get(f"{block}attn_sinks.weight", np.full(self.heads, -np.inf, f))[head : head + 1]
            highest = max(scores.max(), sink[0])
            raised = self.functions.exp(scores - highest)
            shares = raised / (added(raised) + self.functions.exp(sink - highest)[0])
            terms = np.array([p * self.values[layer][t][group] for p, t in zip(shares, seen, strict=True)], f)
            mixed.extend(added(column) for column in terms.T)
        row = np.array(mixed, f)
        if gates is not None:
            row = row * sigmoid(gates.reshape(-1), self.functions.exp)
        return self.linear(f"{block}attn_output", row)

    def recurrent(self, layer: int, h: Vector) -> Vector:
        """Carry a state: the matrices, norms and gates around `Recurrence`."""
        block, state, tensors = f"blk.{layer}.", self.states[layer], self.tensors
        epsilon, step_bias = f(self.key("attention.layer_norm_rms_epsilon")), tensors[f"{block}ssm_dt.bias"]
        kernel, bias = tensors[f"{block}ssm_conv1d.weight"], tensors.get(f"{block}ssm_conv1d.bias")
        decay = tensors[f"{block}ssm_a"].reshape(-1)
        if self.name.startswith("qwen35"):
            taken = state.convolved(self.linear(f"{block}attn_qkv", h), kernel, bias)
            decays = softplus(self.linear(f"{block}ssm_alpha", h) + step_bias) * decay
            beta = sigmoid(self.linear(f"{block}ssm_beta", h), self.functions.exp)
            y = state.delta_net(taken, decays, beta, epsilon).reshape(state.heads, -1)
            normal = np.concatenate([unit_norm(row, epsilon) * tensors[f"{block}ssm_norm.weight"] for row in y])
            return self.linear(f"{block}ssm_out", normal * state.silu(self.linear(f"{block}attn_gate", h)))
        z, channels, steps = np.split(self.linear(f"{block}ssm_in", h), [state.inner, state.inner + len(kernel)])
        taken = state.convolved(channels, kernel, bias)
        y = state.state_space(taken, softplus(steps + step_bias), decay, tensors[f"{block}ssm_d"].reshape(-1))
        groups = (state.silu(z) * y).reshape(state.groups, -1)
        weights = tensors[f"{block}ssm_norm.weight"]
        normal = np.concatenate([unit_norm(row, epsilon) * own for row, own in zip(groups, weights, strict=True)])
        return self.linear(f"{block}ssm_out", normal)

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
        chosen, weights = self.choice(block, self.linear(f"{block}ffn_gate_inp", h))
        terms = []
        for expert, weight in zip(chosen, weights, strict=True):
            gate, up = (self.of_expert(f"{block}ffn_{part}_exps", expert, h) for part in ("gate", "up"))
            if self.name == "gpt-oss":
                gate, up = np.minimum(gate, f(7)), np.minimum(np.maximum(up, f(-7)), f(7))
                hidden = gate / (f(1) + self.functions.exp(f(1.702) * -gate)) * (up + f(1))
            else:
                hidden = self.activation(gate) * up
            terms.append(self.of_expert(f"{block}ffn_down_exps", expert, hidden) * weight)
        mixed = np.array([added(column) for column in np.array(terms, f).T], f)
        if f"{block}ffn_up_shexp.weight" in self.tensors:
            hidden = self.activation(self.linear(f"{block}ffn_gate_shexp", h)) * self.linear(f"{block}ffn_up_shexp", h)
            shared = self.linear(f"{block}ffn_down_shexp", hidden)
            if f"{block}ffn_gate_inp_shexp.weight" in self.tensors:
                score = np.array([added(self.tensors[f"{block}ffn_gate_inp_shexp.weight"] * h)], f)
                shared = shared * sigmoid(score, self.functions.exp)
            mixed = mixed + shared
        return mixed

    def of_expert(self, name: str, expert: int, x: Vector) -> Vector:
        y = times(self.tensors[f"{name}.weight"][expert], x)
        return y + self.tensors[f"{name}.bias"][expert] if f"{name}.bias" in self.tensors else y

    def softmax(self, scores: Vector) -> Vector:
        raised = self.functions.exp(scores - scores.max())
        return raised / added(raised)

    def choice(self, block: str, scores: Vector) -> tuple[list[int], Vector]:
        """Return the chosen experts, the best first, and their shares."""
        shares = scores
        if int(self.key("expert_gating_func", 1)) == 2:
            shares = sigmoid(scores, self.functions.exp)
        elif self.name != "gpt-oss":
            shares = self.softmax(scores)
        ranks = shares + self.tensors.get(f"{block}exp_probs_b.bias", np.zeros_like(shares))
        chosen = sorted(range(len(shares)), key=lambda expert: (-ranks[expert], expert))
        chosen = chosen[: int(self.key("expert_used_count"))]
        weights = shares[chosen]
        if self.name == "gpt-oss":
            return chosen, self.softmax(weights)
        return chosen, weights if self.name == "olmoe" else weights / max(added(weights), f(2.0**-14))

    def forward(self, token: int) -> Vector:
        """Forward the token at the next position: -> logits [V]."""
        x = self.tensors["token_embd.weight"][token]
        if self.name.startswith("gemma"):
            x = x * np.sqrt(f(self.hidden))
        old = self.name == "minicpm"  # without the keys of its factors
        x = x * f(self.key("embedding_scale", 12.0 if old else 1.0))
        if "position_embd.weight" in self.tensors:
            x = x + self.tensors["position_embd.weight"][len(self.keys[0])]
        factor = f(self.key("residual_scale", f(1.4) / np.sqrt(f(self.layers)) if old else 1.0))
        parallel = self.name in ALWAYS_PARALLEL or (self.name == "gptneox" and self.key("use_parallel_residual"))
        parallel |= self.name == "stablelm" and "blk.0.ffn_norm.weight" not in self.tensors
        for layer in range(self.layers):
            block, source = f"blk.{layer}.", x
            h = self.norm(f"{block}attn_norm", x)
            if f"{block}shortconv.conv.weight" in self.tensors:
                update = self.convolution(layer, h)
            elif f"{block}ssm_out.weight" in self.tensors:
                update = self.recurrent(layer, h)
            else:
                update = self.attention(layer, h)
            if self.name in BEFORE_FEED_FORWARD:
                x = x + update * factor
                h = self.norm(f"{block}post_attention_norm", x)
            else:
                x = x + self.norm_behind(f"{block}post_attention_norm", update) * factor
            if self.name in BEFORE_FEED_FORWARD:
                pass
            elif not parallel:
                h = self.norm(f"{block}ffn_norm", x)
            elif f"{block}ffn_norm.weight" in self.tensors:
                h = self.norm(f"{block}ffn_norm", source)
            x = x + self.norm_behind(f"{block}post_ffw_norm", self.feed_forward(layer, h)) * factor
        h = self.norm("token_embd_norm" if self.name.startswith("lfm2") else "output_norm", x)
        logits = self.linear("output" if "output.weight" in self.tensors else "token_embd", h)
        if self.name in DIVIDED_LOGITS:
            logits = logits / f(self.key("logit_scale", f(256) / f(self.hidden)))
        elif "logit_scale" in str(self.metadata.keys()):
            logits = logits * f(self.key("logit_scale"))
        cap = f(self.key("final_logit_softcapping", 0.0))
        return cap * self.functions.tanh(logits / cap) if cap else logits

    def norm_behind(self, name: str, update: Vector) -> Vector:
        return self.norm(name, update) if f"{name}.weight" in self.tensors else update
