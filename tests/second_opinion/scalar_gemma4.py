"""gemma4 in float32 as GG-14 orders it: what differs from the other architectures, one position at a time."""

from __future__ import annotations

import math

import numpy as np

from tests.second_opinion.scalar_architectures import Model, Vector, f, times
from tests.second_opinion.scalar_recurrence import added, unit_norm


class Gemma4(Model):
    """One gemma4 model with the keys and values of the positions so far."""

    position = 0

    def epsilon(self) -> np.float32:
        return f(self.key("attention.layer_norm_rms_epsilon"))

    def windowed(self, layer: int) -> bool:
        return bool(self.key("attention.sliding_window_pattern")[layer])

    def size(self, layer: int) -> int:
        return int(self.key("attention.key_length_swa" if self.windowed(layer) else "attention.key_length"))

    def turned(self, head: Vector, layer: int) -> Vector:
        base = f(self.key("rope.freq_base_swa" if self.windowed(layer) else "rope.freq_base"))
        pairs = np.arange(0, len(head), 2).astype(f)
        angles = f(self.position) * (f(1) / self.functions.power(np.full_like(pairs, base), pairs / f(len(head))))
        if not self.windowed(layer):
            angles = angles / self.tensors["rope_freqs.weight"]
        cosines, sines = self.functions.cos(angles), self.functions.sin(angles)
        first, second = np.split(head, 2)
        return np.concatenate([first * cosines - second * sines, first * sines + second * cosines])

    def normed_heads(self, name: str, row: Vector, layer: int) -> Vector:
        heads = row.reshape(-1, self.size(layer))
        return np.array([self.turned(self.norm(f"{name}_norm", head), layer) for head in heads], f)

    def attention(self, layer: int, h: Vector) -> Vector:
        block, own = f"blk.{layer}.", self.layers - int(self.key("attention.shared_kv_layers", 0))
        queries = self.normed_heads(f"{block}attn_q", self.linear(f"{block}attn_q", h), layer)
        if layer < own:
            k = self.linear(f"{block}attn_k", h)
            v = self.linear(f"{block}attn_v", h) if f"{block}attn_v.weight" in self.tensors else k
            self.keys[layer].append(self.normed_heads(f"{block}attn_k", k, layer))
            values = v.reshape(-1, self.size(layer))
            self.values[layer].append(np.array([unit_norm(head, self.epsilon()) for head in values], f))
        source = layer if layer < own else max(at for at in range(own) if self.windowed(at) == self.windowed(layer))
        keys, values = self.keys[source], self.values[source]
        window = int(self.key("attention.sliding_window")) if self.windowed(layer) else len(keys)
        seen = range(max(0, len(keys) - window), len(keys))
        mixed = []
        for head, query in enumerate(queries):
            group = head // (self.heads // len(keys[0]))
            scores = np.array([added(query * keys[t][group]) for t in seen], f)
            terms = np.array([p * values[t][group] for p, t in zip(self.softmax(scores), seen, strict=True)], f)
            mixed.extend(added(column) for column in terms.T)
        return self.linear(f"{block}attn_output", np.array(mixed, f))

    def gelu(self, x: Vector) -> Vector:
        inner = f(math.sqrt(2 / math.pi)) * x * (f(1) + f(0.044715) * x * x)
        return f(0.5) * x * (f(1) + self.functions.tanh(inner))

    def branch(self, block: str, x: Vector) -> Vector:
        h = self.norm(f"{block}ffn_norm", x)
        hidden = self.gelu(self.linear(f"{block}ffn_gate", h)) * self.linear(f"{block}ffn_up", h)
        dense = self.linear(f"{block}ffn_down", hidden)
        if not int(self.key("expert_count", 0)):
            return dense
        dense = self.norm(f"{block}post_ffw_norm_1", dense)
        routed = unit_norm(x, self.epsilon()) * (f(1) / np.sqrt(f(self.hidden)))
        scores = self.linear(f"{block}ffn_gate_inp", routed * self.tensors[f"{block}ffn_gate_inp.scale"])
        h = self.norm(f"{block}pre_ffw_norm_2", x)
        terms = []
        for expert, weight in zip(*self.choice(block, scores), strict=True):
            if f"{block}ffn_gate_up_exps.weight" in self.tensors:
                gate, up = np.split(self.tensors[f"{block}ffn_gate_up_exps.weight"][expert], 2)
            else:
                gate, up = (self.tensors[f"{block}ffn_{part}_exps.weight"][expert] for part in ("gate", "up"))
            down = times(self.tensors[f"{block}ffn_down_exps.weight"][expert], self.gelu(times(gate, h)) * times(up, h))
            terms.append(down * self.tensors[f"{block}ffn_down_exps.scale"][expert] * weight)
        mixed = np.array([added(column) for column in np.array(terms, f).T], f)
        return dense + self.norm(f"{block}post_ffw_norm_2", mixed)

    def inputs(self, token: int, x: Vector) -> Vector | None:
        """Return what enters each layer: [layers, E]."""
        size = int(self.key("embedding_length_per_layer_input"))
        if not size:
            return None
        rows = self.tensors["per_layer_token_embd.weight"][token] * np.sqrt(f(size))
        projected = self.linear("per_layer_model_proj", x) * (f(1) / np.sqrt(f(self.hidden)))
        normal = [self.norm("per_layer_proj_norm", row) for row in projected.reshape(-1, size)]
        return (np.array(normal, f) + rows.reshape(-1, size)) * (f(1) / np.sqrt(f(2)))

    def forward(self, token: int) -> Vector:
        """Forward the token at the next position: -> logits [V]."""
        x = self.tensors["token_embd.weight"][token] * np.sqrt(f(self.hidden))
        inputs = self.inputs(token, x)
        for layer in range(self.layers):
            block = f"blk.{layer}."
            x = x + self.norm(f"{block}post_attention_norm", self.attention(layer, self.norm(f"{block}attn_norm", x)))
            x = x + self.norm(f"{block}post_ffw_norm", self.branch(block, x))
            if inputs is not None:
                gate = self.gelu(self.linear(f"{block}inp_gate", x)) * inputs[layer]
                x = x + self.norm(f"{block}post_norm", self.linear(f"{block}proj", gate))
            x = x * self.tensors[f"{block}layer_output_scale.weight"]
        self.position += 1
        h = self.norm("output_norm", x)
        logits = self.linear("output" if "output.weight" in self.tensors else "token_embd", h)
        cap = f(self.key("final_logit_softcapping"))
        return cap * self.functions.tanh(logits / cap)
