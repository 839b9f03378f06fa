"""The arithmetic of the forward pass, written once over a few primitives that each numeric profile supplies.

Dimension letters: n positions in this pass, T positions visible so far, H hidden, F ffn, D head_dim, V vocab,
A attention heads, K key/value heads, G = A / K query heads per key/value head.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.in_place import Inventory
from refruntime.numerics.rotary import RopeScaling, Rotary
from refruntime.numerics.scans import delta_net_step, state_space_step
from refruntime.numerics.sources import RowSource
from refruntime.numerics.whole_step import PlainModel, Step

Array = NDArray[Any]

ATTENTION_PRODUCTS = 262_144  # products that one group of attention rows holds at once


def add_rows(terms: Array) -> Array:
    """Add contiguous rows [k, m] one after the other: -> [m].

    A sum from 0.0 differs from one that starts at the first row only where every term is -0.0.
    """
    if terms.shape[1] == 1:  # a single column would be summed pairwise
        terms = np.add.accumulate(terms, axis=0)[-1:]
    result: Array = np.add.reduce(terms, axis=0)
    return result


def error_function(x: Array) -> NDArray[np.float64]:
    """Return erf of every element in float64, by the function of the standard library."""
    return np.array([math.erf(value) for value in x.ravel().tolist()], np.float64).reshape(x.shape)


class Attention(NamedTuple):
    """Result of attention over n positions: `mixed` [n, A, D]; `scores`, `weights` [A, n, T], masked where t > pos."""

    mixed: Array
    scores: Array
    weights: Array


class AttentionVariant(NamedTuple):
    """How attention differs from FW-6: another scale, a soft cap on the scaled scores, a window of positions.

    None and 0 mean that there is no such difference. With a window a row sees itself and window - 1 positions before.
    `sinks` [A] are scores that take a share of the weights and give nothing. `queries_scaled` says that the model's
    authors scale queries and not scores; only a profile that follows them to the bit cares.
    """

    scale: Any = None
    softcap: float = 0.0
    window: int = 0
    sinks: Any = None
    queries_scaled: bool = False


PLAIN_ATTENTION = AttentionVariant()


class Numerics(ABC):
    """A numeric profile: the only thing that decides how values are rounded and in which order they are added."""

    name: str
    dtype: type[np.floating[Any]]
    storage: str
    """What `matrix` makes. A profile can multiply what another one of the same storage made."""
    of_the_contract = False
    """Whether builds are held to its bits (section 11), so that it knows the options of FW-4."""
    scales_queries_of_states = True
    """Whether a delta net scales its query before it reads the state, or what it read (GG-14)."""

    # Primitives ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def matrix(self, sources: Sequence[RowSource]) -> Any:
        """Store float32 matrices [out, in] that share their input, side by side, in the form that `project` wants."""

    def matrix_bytes(self, source: RowSource) -> int:
        """Return the bytes that a stored matrix takes."""
        return 4 * math.prod(source.shape)

    def scaled_matrix(
        self, values: NDArray[np.int8], scales: NDArray[np.float32], block_size: int, per_block: bool
    ) -> Any:
        """Store int8 values [out, in] and scales [out, in / block_size] apart, for an option of FW-4."""
        raise NotImplementedError(f"numeric profile {self.name} has no option of FW-4")

    @abstractmethod
    def matrix_rows(self, matrix: Any, ids: Sequence[int]) -> Array:
        """Return rows of a stored matrix, such as embeddings: ids [n] -> [n, in]."""

    @abstractmethod
    def project(self, matrix: Any, x: Array) -> Array:
        """Multiply: [n, in] -> [n, out], each sum over the columns in index order from 0.0 (FW-4)."""

    @abstractmethod
    def sum_rows(self, terms: Array) -> Array:
        """Add the rows of [k, m] in index order from 0.0: -> [m]."""

    def read_state(self, terms: Array) -> Array:
        """Add products of a recurrent state with a key or query, the rows of [k, m]: -> [m] (GG-14)."""
        return self.sum_rows(terms)

    @abstractmethod
    def exp(self, x: Array) -> Array:
        """Return e to the power of x."""

    @abstractmethod
    def sin(self, x: Array) -> Array:
        """Return the sine of x in radians."""

    @abstractmethod
    def cos(self, x: Array) -> Array:
        """Return the cosine of x in radians."""

    @abstractmethod
    def tanh(self, x: Array) -> Array:
        """Return the hyperbolic tangent of x."""

    @abstractmethod
    def erf(self, x: Array) -> Array:
        """Return the error function of x."""

    @abstractmethod
    def power(self, base: Array, exponent: Array) -> Array:
        """Return base to the power of exponent."""

    resident = "float32"
    """How weights are held: one of `in_place.RESIDENT`."""

    def settled(self, inventory: Inventory) -> Numerics:
        """Return the profile for a model with these weights, where `resident` was `auto`; changes no number."""
        return self

    def working(self) -> AbstractContextManager[None]:
        """Return what surrounds a pass through a model."""
        return nullcontext()

    def prepare(self) -> None:
        """Do early, on any thread, what would otherwise be done in the middle of the work; changes no number."""
        return None

    def whole_step(self, model: PlainModel) -> Step | None:
        """Return what computes a position of a plain model in one go, None where that is not possible, or not yet."""
        return None

    # Formulas -----------------------------------------------------------------------------------------------------

    def array(self, values: Any) -> Array:
        """Return a copy of `values` in the storage type of this profile."""
        return np.array(values, dtype=self.dtype)

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        """Normalise rows: [n, H] -> [n, H]; x * inv * weight, left to right (FW-3)."""
        one = self.dtype(1)
        mean = self.sum_rows((x * x).T) / self.dtype(x.shape[1])  # [n]
        inverse = one / np.sqrt(mean + self.dtype(epsilon))  # [n]
        normal: Array = x * inverse[:, None] * weight  # [n, H]
        return normal

    def rotary(self, theta: float, head_dim: int, factors: Array | None, scaling: RopeScaling | None) -> Rotary:
        """Prepare the rotary embedding: frequencies are 1 / theta^(2i / D) for i = 0 .. D/2 - 1 (FW-5)."""
        pair = np.arange(0, head_dim, 2).astype(self.dtype)  # [D/2]
        exponent = pair / self.dtype(head_dim)  # [D/2]
        frequencies: Array = self.dtype(1) / self.power(np.full_like(exponent, theta), exponent)
        if scaling is None:
            return Rotary(frequencies, factors)
        return Rotary(
            frequencies,
            factors,
            stretch=self.dtype(1) / self.dtype(scaling.factor),
            ramp=self.array(scaling.ramp(theta, head_dim)) if scaling.kind == "yarn" else None,
            magnitude=self.dtype(scaling.magnitude) if scaling.kind == "yarn" else None,
        )

    def rope_angles(self, position: int, count: int, rotary: Rotary) -> tuple[Array, Array]:
        """Return cosines and sines, each [n, D / 2], for positions `position` .. `position` + n - 1 (FW-5).

        The order of what GGUF adds is llama.cpp's: divide by the factors, stretch, blend.
        """
        positions = np.arange(position, position + count).astype(self.dtype)  # [n]
        angles: Array = positions[:, None] * rotary.frequencies  # [n, D/2]
        if rotary.factors is not None:
            angles = angles / rotary.factors
        if rotary.stretch is not None:
            own, angles = angles, rotary.stretch * angles
            if rotary.ramp is not None:
                angles = angles * (self.dtype(1) - rotary.ramp) + own * rotary.ramp
        cosines, sines = self.cos(angles), self.sin(angles)
        if rotary.magnitude is not None:
            cosines, sines = cosines * rotary.magnitude, sines * rotary.magnitude
        return cosines, sines

    def rope(self, x: Array, cosines: Array, sines: Array) -> Array:
        """Rotate the adjacent pairs (2i, 2i + 1) of every head: [n, heads, D] -> [n, heads, D] (FW-5)."""
        first, second = x[..., 0::2], x[..., 1::2]  # [n, heads, D/2]
        cosine, sine = cosines[:, None, :], sines[:, None, :]  # [n, 1, D/2]
        rotated = np.empty_like(x)
        rotated[..., 0::2] = first * cosine - second * sine
        rotated[..., 1::2] = first * sine + second * cosine
        return rotated

    def rotate(self, q: Array, k: Array, cosines: Array, sines: Array) -> tuple[Array, Array]:
        """Rotate queries [n, A, D] and keys [n, K, D] by the angles of their positions (FW-5)."""
        return self.rope(q, cosines, sines), self.rope(k, cosines, sines)

    def parallel_sum(self, x: Array, attention: Array, feed_forward: Array, order: str) -> Array:
        """Add both blocks of a parallel layer to its input: (x + attention) + feed_forward (GG-11).

        `order` is that of the model's authors, for a profile that follows them to the bit.
        """
        total: Array = (x + attention) + feed_forward
        return total

    def divided(self, x: Array, divisor: Any) -> Array:
        """Return x / divisor, of logits by their scale (GG-11)."""
        quotient: Array = x / divisor
        return quotient

    def kept(self, x: Array) -> Array:
        """Return keys or values as the cache holds them: here as they are."""
        return x

    def attention(
        self, q: Array, keys: Array, values: Array, position: int, variant: AttentionVariant = PLAIN_ATTENTION
    ) -> Attention:
        """Attend causally (FW-6, GG-8, GG-11): q [n, A, D], keys [D, K, T], values [T, K, D], T = position + n.

        Query head a uses key/value head a / G. Row r sees t = 0 .. position + r, or the last ones of these if there is
        a window; the cells that it does not see hold a score of -inf and a weight of 0.
        """
        n, heads, head_dim = q.shape
        visible = keys.shape[2]
        mixed = np.empty_like(q)
        scores = np.full((heads, n, visible), -np.inf, self.dtype)
        weights = np.zeros((heads, n, visible), self.dtype)
        rows = max(1, ATTENTION_PRODUCTS // (heads * head_dim * visible))
        for first in range(0, n, rows):
            last = min(first + rows, n)
            sight = position + last
            part = self._attend(q[first:last], keys[:, :, :sight], values[:sight], position + first, variant)
            mixed[first:last] = part.mixed
            scores[:, first:last, :sight] = part.scores
            weights[:, first:last, :sight] = part.weights
        return Attention(mixed, scores, weights)

    def _attend(self, q: Array, keys: Array, values: Array, position: int, variant: AttentionVariant) -> Attention:
        """Attend with all n rows at once. Cells that a row does not see add an exact 0.0 at either end of its sums,

        which changes no bit, because a sum that starts at 0.0 is never -0.0.
        """
        n, heads, head_dim = q.shape
        kv_heads, visible = keys.shape[1], keys.shape[2]
        group = heads // kv_heads
        queries = np.ascontiguousarray(q.reshape(n, kv_heads, group, head_dim).transpose(3, 1, 2, 0))  # [D, K, G, n]
        dots = self.dots(queries, keys).reshape(heads, n, visible)  # [A, n, T]
        seen = self.seen(position, n)  # [n, T]
        if variant.window:
            seen &= np.arange(visible) > np.arange(position, position + n)[:, None] - variant.window
        scaled = dots * (self.attention_scale(heads, head_dim) if variant.scale is None else variant.scale)
        if variant.softcap:
            scaled = self.softcap(scaled, variant.softcap)
        scores = np.where(seen, scaled, self.dtype(-np.inf))  # [A, n, T]
        weights = np.where(seen, self.softmax(scores, seen, variant.sinks), self.dtype(0))  # [A, n, T]
        by_time = np.ascontiguousarray(weights.transpose(2, 0, 1)).reshape(visible, kv_heads, group, n)
        products = by_time[..., None] * values[:, :, None, None, :]  # [T, K, G, n, D]
        if not np.isfinite(values).all():  # 0 * inf must not leak from a position that a row does not see
            products = np.where(seen.T[:, None, None, :, None], products, self.dtype(0))
        mixed = self.sum_rows(products.reshape(visible, -1)).reshape(heads, n, head_dim)  # [A, n, D]
        return Attention(mixed.transpose(1, 0, 2), scores, weights)

    def dots(self, queries: Array, keys: Array) -> Array:
        """Return the dot product of every query with every key: [D, K, G, n], [D, K, T] -> [K * G * n * T] (FW-6)."""
        terms = queries[..., None] * keys[:, :, None, None, :]  # [D, K, G, n, T]
        return self.sum_rows(terms.reshape(terms.shape[0], -1))

    def attention_scale(self, heads: int, head_dim: int) -> Any:
        """Return what dot products are multiplied with: 1 / sqrt(D) (FW-6)."""
        return self.dtype(1) / np.sqrt(self.dtype(head_dim))

    def seen(self, position: int, n: int) -> NDArray[np.bool_]:
        """Say which positions t the rows `position` .. `position` + n - 1 attend to: [n, T], t <= own (FW-6)."""
        seen: NDArray[np.bool_] = np.arange(position + n) <= np.arange(position, position + n)[:, None]
        return seen

    def softmax(self, scores: Array, seen: Array, sinks: Array | None = None) -> Array:
        """Normalise over the last axis: [A, n, T] -> [A, n, T]; subtract maximum, exp, sum in order, divide (FW-6).

        A sink of a row [A] counts for the maximum, and is added to the sum behind everything else (GG-11).
        """
        maximum = scores.max(axis=-1, keepdims=True)  # [A, n, 1]
        if sinks is not None:
            maximum = np.maximum(maximum, sinks[:, None, None])
        exponentials = np.where(seen, self.exp(scores - maximum), self.dtype(0))  # [A, n, T]
        heads, n, visible = scores.shape
        sums = self.sum_rows(exponentials.reshape(-1, visible).T).reshape(heads, n, 1)  # [A, n, 1]
        if sinks is not None:
            sums = sums + self.exp(sinks[:, None, None] - maximum)
        return exponentials / sums

    def silu(self, x: Array) -> Array:
        """Return x / (1 + exp(-x)), element by element (FW-7)."""
        activated: Array = x / (self.dtype(1) + self.exp(-x))
        return activated

    def sigmoid(self, x: Array) -> Array:
        """Return 1 / (1 + exp(-x)), element by element (GG-14)."""
        one = self.dtype(1)
        result: Array = one / (one + self.exp(-x))
        return result

    def softplus(self, x: Array) -> Array:
        """Return x beyond 20, else ln(1 + exp(x)), evaluated in float64 and rounded once (GG-14)."""
        exact = [math.log1p(math.exp(value)) for value in np.minimum(x, 20).ravel().tolist()]
        result: Array = np.where(x > 20, x, np.array(exact, np.float64).astype(self.dtype).reshape(x.shape))
        return result

    def layer_norm(self, x: Array, weight: Array | None, bias: Array | None, epsilon: float) -> Array:
        """Normalise rows: [n, H] -> [n, H]; (x - mean) * inv * weight + bias, left to right (GG-11)."""
        count = self.dtype(x.shape[1])
        centred = x - (self.sum_rows(x.T) / count)[:, None]  # [n, H]
        variance = self.sum_rows((centred * centred).T) / count  # [n]
        normal: Array = centred * (self.dtype(1) / np.sqrt(variance + self.dtype(epsilon)))[:, None]  # [n, H]
        if weight is not None:
            normal = normal * weight
        return normal if bias is None else normal + bias

    def gelu_tanh(self, x: Array) -> Array:
        """Return 0.5 x (1 + tanh(sqrt(2 / pi) x (1 + 0.044715 x x))), left to right (GG-11)."""
        one = self.dtype(1)
        inner = self.dtype(math.sqrt(2 / math.pi)) * x * (one + self.dtype(0.044715) * x * x)
        activated: Array = self.dtype(0.5) * x * (one + self.tanh(inner))
        return activated

    def gelu_erf(self, x: Array) -> Array:
        """Return 0.5 x (1 + erf(x / sqrt(2))), left to right (GG-12)."""
        activated: Array = self.dtype(0.5) * x * (self.dtype(1) + self.erf(x / self.dtype(math.sqrt(2))))
        return activated

    def relu_squared(self, x: Array) -> Array:
        """Return max(x, 0)^2 (GG-11)."""
        positive = np.maximum(x, self.dtype(0))
        squared: Array = positive * positive
        return squared

    def softcap(self, x: Array, cap: float) -> Array:
        """Return cap * tanh(x / cap) (GG-11)."""
        limit = self.dtype(cap)
        capped: Array = limit * self.tanh(x / limit)
        return capped

    def scan(self, state: Array, rows: Array, groups: int, decay: Array | None = None) -> tuple[Array, Array]:
        """Take rows [n, width] into a state [S, M, N]: -> the state behind them and what each gives [n, S, M] (GG-14).

        With a decay [S] it is the state of a state space, without that of a delta net; `scans` says what rows hold.
        """
        given = []
        for row in rows:
            if decay is None:
                state, output = delta_net_step(self, groups, state, row)
            else:
                state, output = state_space_step(self, groups, decay, state, row)
            given.append(output)
        return state, np.stack(given)

    def causal_convolution(self, x: Array, kernel: Array) -> Array:
        """Convolve each channel over positions: x [L - 1 + n, H], kernel [H, L] -> [n, H] (GG-11).

        Row r is the sum over j = 0 .. L - 1, in this order, of x[r + j] * kernel[:, j]; the last is its own position.
        """
        length, n = kernel.shape[1], x.shape[0] - kernel.shape[1] + 1
        terms = np.stack([x[j : j + n] * kernel[:, j] for j in range(length)])  # [L, n, H]
        return self.sum_rows(terms.reshape(length, -1)).reshape(n, -1)
