"""A scalar float32 transformer, written from contract section 11 alone: one rounding per operation, plain loops.

It shares no code with the package except that the four transcendentals are handed in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

f = np.float32
Unary = Callable[[np.float32], np.float32]


def dot(w: np.ndarray, x: list[np.float32]) -> np.float32:
    total = f(0)
    for a, b in zip(w, x, strict=True):
        total = f(total + f(a * b))
    return total


def norm(x: list[np.float32], weight: np.ndarray, eps: float) -> list[np.float32]:
    total = f(0)
    for value in x:
        total = f(total + f(value * value))
    inverse = f(f(1) / np.sqrt(f(f(total / f(len(x))) + f(eps))))
    return [f(f(value * inverse) * w) for value, w in zip(x, weight, strict=True)]


def forward(
    weights: dict[str, np.ndarray],
    tokens: list[int],
    *,
    layers: int,
    heads: int,
    theta: float,
    eps: float,
    exp: Unary,
    sin: Unary,
    cos: Unary,
    power: Callable[[np.float32, np.float32], np.float32],
) -> np.ndarray:
    """Return logits [T, V] of an SLM1-named set of weights (equal heads)."""
    keys: list[list[list[np.float32]]] = [[] for _ in range(layers)]
    values: list[list[list[np.float32]]] = [[] for _ in range(layers)]
    result = []
    for position, token in enumerate(tokens):
        x = [f(v) for v in weights["tok_embeddings.weight"][token]]
        size = len(x) // heads
        for layer in range(layers):
            w = {name: weights[f"layers.{layer}.{name}.weight"] for name in ("wq", "wk", "wv", "wo", "w1", "w2", "w3")}
            h = norm(x, weights[f"layers.{layer}.attn_norm.weight"], eps)
            q, k, v = ([dot(row, h) for row in w[name]] for name in ("wq", "wk", "wv"))
            for vector in (q, k):
                for head in range(heads):
                    for i in range(size // 2):
                        frequency = f(f(1) / power(f(theta), f(f(2 * i) / f(size))))
                        angle = f(f(position) * frequency)
                        at = head * size + 2 * i
                        a, b, c, s = vector[at], vector[at + 1], cos(angle), sin(angle)
                        vector[at] = f(f(a * c) - f(b * s))
                        vector[at + 1] = f(f(a * s) + f(b * c))
            keys[layer].append(k)
            values[layer].append(v)
            mixed: list[np.float32] = []
            for head in range(heads):
                part = slice(head * size, (head + 1) * size)
                scale = f(f(1) / np.sqrt(f(size)))
                scores = [f(dot(np.array(q[part]), past[part]) * scale) for past in keys[layer]]
                top = max(scores)
                raised = [exp(f(score - top)) for score in scores]
                total = f(0)
                for value in raised:
                    total = f(total + value)
                share = [f(value / total) for value in raised]
                for d in range(head * size, (head + 1) * size):
                    total = f(0)
                    for p, past in zip(share, values[layer], strict=True):
                        total = f(total + f(p * past[d]))
                    mixed.append(total)
            x = [f(a + dot(row, mixed)) for a, row in zip(x, w["wo"], strict=True)]
            h = norm(x, weights[f"layers.{layer}.ffn_norm.weight"], eps)
            gate, up = [dot(row, h) for row in w["w1"]], [dot(row, h) for row in w["w3"]]
            hidden = [f(f(g / f(f(1) + exp(f(-g)))) * u) for g, u in zip(gate, up, strict=True)]
            x = [f(a + dot(row, hidden)) for a, row in zip(x, w["w2"], strict=True)]
        h = norm(x, weights["norm.weight"], eps)
        output = weights.get("output.weight", weights["tok_embeddings.weight"])
        result.append([dot(row, h) for row in output])
    return np.array(result, np.float32)
