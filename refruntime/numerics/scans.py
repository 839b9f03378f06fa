"""Take rows into the state of a recurrent layer, one after the other: state spaces and gated delta nets (GG-14).

Dimension letters: n rows, S state heads of M numbers each, N numbers of state for each of these, G groups (heads of
keys). This is the definition, in the primitives of a numeric profile.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Primitives(Protocol):
    """What a scan needs of a numeric profile."""

    dtype: type[np.floating[Any]]
    scales_queries_of_states: bool

    def exp(self, x: Array) -> Array:
        """Return e to the x."""

    def sum_rows(self, terms: Array) -> Array:
        """Add rows."""

    def read_state(self, terms: Array) -> Array:
        """Add the products of a state."""


def state_space_step(numerics: Primitives, groups: int, decay: Array, state: Array, row: Array) -> tuple[Array, Array]:
    """state = state * exp(step * a) + B * (x * step); out = sum over N of state * C: [S, M, N] -> [S, M, N], [S, M].

    A row is x [S, M], B and C [G, N] each, step [S]; decay [S].
    """
    heads, _, size = state.shape
    inner = row.size - heads - 2 * groups * size
    group = np.arange(heads) // (heads // groups)  # [S]
    x = row[:inner].reshape(heads, -1)  # [S, M]
    b, c = row[inner : inner + 2 * groups * size].reshape(2, groups, 1, size)[:, group]  # [S, 1, N] each
    length = row[-heads:]  # [S]
    kept = state * numerics.exp(length * decay)[:, None, None]
    state = kept + b * (x * length[:, None])[:, :, None]  # [S, M, N]
    products = np.ascontiguousarray(np.moveaxis(state * c, 2, 0))  # [N, S, M]
    return state, numerics.sum_rows(products.reshape(size, -1)).reshape(x.shape)


def delta_net_step(numerics: Primitives, groups: int, state: Array, row: Array) -> tuple[Array, Array]:
    """state *= exp(decay); state += k * (v - state k) * beta; out = state q / sqrt(N): [S, M, N] -> [S, M, N], [S, M].

    A row is q and k [G, N] each, v [S, M], decay and beta [S] each. State head s reads key head s mod G.
    """
    heads, _, size = state.shape
    inner = row.size - 2 * heads - 2 * groups * size
    key = np.arange(heads) % groups  # [S]
    scale = numerics.dtype(1) / np.sqrt(numerics.dtype(size))

    def along(vector: Array) -> Array:
        """Return the sums over N of the state times a vector [S, 1, N]: [S, M]."""
        products = np.ascontiguousarray(np.moveaxis(state * vector, 2, 0))  # [N, S, M]
        return numerics.read_state(products.reshape(size, -1)).reshape(state.shape[:2])

    q, k = row[: 2 * groups * size].reshape(2, groups, 1, size)[:, key]  # [S, 1, N] each
    v = row[2 * groups * size :][:inner].reshape(heads, -1)  # [S, M]
    decay, beta = row[-2 * heads :].reshape(2, heads)
    state = state * numerics.exp(decay)[:, None, None]
    change = (v - along(k)) * beta[:, None]  # [S, M]
    state = state + k * change[:, :, None]
    return state, along(q * scale) if numerics.scales_queries_of_states else along(q) * scale
