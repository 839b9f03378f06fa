"""Encoders in float32 as GG-15 orders it: one number after the other; no code is shared with the package.

The elementary functions are handed in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.second_opinion.scalar_architectures import Functions, Vector, times
from tests.second_opinion.scalar_recurrence import added

f = np.float32


class Encoder:
    """One encoder."""

    def __init__(self, metadata: Mapping[str, Any], tensors: Mapping[str, Vector], name: str, functions: Functions):
        self.tensors, self.functions, self.name = tensors, functions, name
        self.heads = int(metadata[f"{name}.attention.head_count"])
        self.layers = int(metadata[f"{name}.block_count"])
        self.epsilon = f(metadata[f"{name}.attention.layer_norm_epsilon"])
        self.base = f(metadata.get(f"{name}.rope.freq_base", 10000.0))

    def forward(self, tokens: Sequence[int]) -> Vector:
        """Return the rows of a text: [T, H]."""
        x = []
        for position, token in enumerate(tokens):
            row = self.tensors["token_embd.weight"][token] + self.tensors["token_types.weight"][0]
            if "position_embd.weight" in self.tensors:
                row = row + self.tensors["position_embd.weight"][position]
            x.append(self.norm("token_embd_norm", row))
        for layer in range(self.layers):
            block = f"blk.{layer}."
            mixed = self.attention(block, x)
            x = [
                self.norm(block + "attn_output_norm", self.linear(block + "attn_output", part) + row)
                for part, row in zip(mixed, x, strict=True)
            ]
            x = [self.norm(block + "layer_output_norm", self.feed_forward(block, row) + row) for row in x]
        return np.array(x, f)

    def linear(self, name: str, x: Vector) -> Vector:
        y = times(self.tensors[f"{name}.weight"], x)
        return y + self.tensors[f"{name}.bias"] if f"{name}.bias" in self.tensors else y

    def norm(self, name: str, x: Vector) -> Vector:
        centred = x - added(x) / f(len(x))
        inverse = f(1) / np.sqrt(added(centred * centred) / f(len(x)) + self.epsilon)
        return centred * inverse * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def attention(self, block: str, x: list[Vector]) -> list[Vector]:
        if f"{block}attn_qkv.weight" in self.tensors:
            parts = [np.split(self.linear(f"{block}attn_qkv", row), 3) for row in x]
        else:
            parts = [[self.linear(f"{block}attn_{letter}", row) for letter in "qkv"] for row in x]
        q, k, v = ([part[place].reshape(self.heads, -1) for part in parts] for place in range(3))
        if "position_embd.weight" not in self.tensors:
            q, k = ([self.turned(heads, position) for position, heads in enumerate(rows)] for rows in (q, k))
        scale = f(1) / np.sqrt(f(q[0].shape[1]))
        mixed = []
        for queries in q:
            row: list[np.float32] = []
            for head, query in enumerate(queries):
                scores = np.array([added(query * keys[head]) * scale for keys in k], f)
                raised = self.functions.exp(scores - scores.max())
                shares = raised / added(raised)
                terms = np.array([share * values[head] for share, values in zip(shares, v, strict=True)], f)
                row.extend(added(column) for column in terms.T)
            mixed.append(np.array(row, f))
        return mixed

    def turned(self, heads: Vector, position: int) -> Vector:
        """Turn the pairs (i, i + D / 2) of every head."""
        half = heads.shape[1] // 2
        exponents = np.arange(0, 2 * half, 2).astype(f) / f(2 * half)
        angles = f(position) * (f(1) / self.functions.power(np.full_like(exponents, self.base), exponents))
        cosines, sines = self.functions.cos(angles), self.functions.sin(angles)
        first, second = heads[:, :half], heads[:, half:]
        return np.concatenate([first * cosines - second * sines, first * sines + second * cosines], axis=1)

    def feed_forward(self, block: str, x: Vector) -> Vector:
        up = self.linear(f"{block}ffn_up", x)
        if f"{block}ffn_gate.weight" in self.tensors:
            gate = self.linear(f"{block}ffn_gate", x)
            return self.linear(f"{block}ffn_down", gate / (f(1) + self.functions.exp(-gate)) * up)
        inner = f(math.sqrt(2 / math.pi)) * up * (f(1) + f(0.044715) * up * up)
        return self.linear(f"{block}ffn_down", f(0.5) * up * (f(1) + self.functions.tanh(inner)))
