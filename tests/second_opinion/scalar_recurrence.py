"""Layers that carry a state, in float32 as GG-14 orders them: one position, one head and one sum at a time.

It shares no code with the package except that the exponential is handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

f = np.float32
Vector = NDArray[np.float32]
Unary = Callable[[Vector], Vector]


def added(values: Vector) -> np.float32:
    """Add from 0.0 in index order; each step of `accumulate` is one rounded addition."""
    return f(np.add.accumulate(np.concatenate([[f(0)], np.asarray(values, f)]), dtype=f)[-1])


def sigmoid(x: Vector, exp: Unary) -> Vector:
    return f(1) / (f(1) + exp(-x))


def softplus(x: Vector) -> Vector:
    """Return ln(1 + e^x) rounded once, or x beyond 20."""
    return np.array([v if v > 20 else f(math.log1p(math.exp(float(v)))) for v in x], f)


def unit_norm(x: Vector, epsilon: np.float32) -> Vector:
    """Divide by sqrt(mean(x * x) + epsilon)."""
    return x * (f(1) / np.sqrt(added(x * x) / f(len(x)) + epsilon))


class Recurrence:
    """The state of one layer: a matrix [M, N] for every head, and the last rows that the convolution reads."""

    def __init__(self, heads: int, groups: int, size: int, inner: int, exp: Unary) -> None:
        self.heads, self.groups, self.size, self.inner, self.exp = heads, groups, size, inner, exp
        self.states = [np.zeros((inner // heads, size), f) for _ in range(heads)]
        self.past: list[Vector] = []

    def silu(self, x: Vector) -> Vector:
        return x / (f(1) + self.exp(-x))

    def convolved(self, row: Vector, kernel: Vector, bias: Vector | None) -> Vector:
        self.past.append(row)
        length = kernel.shape[1]
        rows = [np.zeros_like(row)] * length + self.past
        terms = np.array([rows[len(rows) - length + j] * kernel[:, j] for j in range(length)], f)
        sums = np.array([added(column) for column in terms.T], f)
        return self.silu(sums if bias is None else sums + bias)

    def state_space(self, taken: Vector, steps: Vector, decay: Vector, skip: Vector) -> Vector:
        """Take in x, B and C of one position with the lengths of its steps [S]: -> [I]."""
        x = taken[: self.inner].reshape(self.heads, -1)
        b, c = taken[self.inner :].reshape(2, self.groups, self.size)
        given = []
        for head in range(self.heads):
            group = head // (self.heads // self.groups)
            kept = self.exp(np.array([steps[head] * decay[head]], f))[0]
            state = self.states[head]
            for m, value in enumerate(x[head]):
                state[m] = state[m] * kept + b[group] * (value * steps[head])
                given.append(added(state[m] * c[group]) + value * skip[head])
        return np.array(given, f)

    def delta_net(self, taken: Vector, decays: Vector, beta: Vector, epsilon: np.float32) -> Vector:
        """Take in q, k and v of one position with its decays [S] and rates [S]: -> [I]."""
        q, k = taken[: 2 * self.groups * self.size].reshape(2, self.groups, self.size)
        v = taken[2 * self.groups * self.size :].reshape(self.heads, -1)
        root = f(1) / np.sqrt(f(self.size))
        given = []
        for head in range(self.heads):
            query, key = (unit_norm(each[head % self.groups], epsilon / f(self.size)) * root for each in (q, k))
            kept = self.exp(decays[head : head + 1])[0]
            state = self.states[head]
            for m, value in enumerate(v[head]):
                state[m] = state[m] * kept
                state[m] = state[m] + key * ((value - added(state[m] * key)) * beta[head])
                given.append(added(state[m] * (query * root)))
        return np.array(given, f)
