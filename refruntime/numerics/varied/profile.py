"""The numeric profile of a variation: plain NumPy, every sum and form as the variation says."""

from __future__ import annotations

import operator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.base import PLAIN_ATTENTION, Array, Attention, AttentionVariant
from refruntime.numerics.compiled.seq32 import CompiledSeq32
from refruntime.numerics.in_place import InPlaceMatrix
from refruntime.numerics.rotary import RopeScaling, Rotary
from refruntime.numerics.seq32 import ScaledColumns
from refruntime.numerics.varied.elementary import EXP, INVERSE_ROOT, POWER, ROOT, SINE
from refruntime.numerics.varied.roundings import rounded_once
from refruntime.numerics.varied.sums import SEQUENTIAL
from refruntime.numerics.varied.variation import Variation

Float32 = NDArray[np.float32]

ONE: Final = np.float32(1)
PRODUCTS: Final = 1 << 18  # products of a tile of outputs


class Varied(CompiledSeq32):
    """Seq32 with other forms of some operations; where the variation says nothing, the bits are those of seq32.

    Each position sees its own number of terms, so attention goes row by row; nothing here depends on how many
    positions are computed together.
    """

    def __init__(self, variation: Variation, threads: int | None = None, kernels: str = "auto") -> None:
        super().__init__(threads, kernels)
        self.variation = variation
        self.name = f"seq32 varied ({variation.name})"
        self._exp, self._power, self._root = EXP[variation.exp], POWER[variation.power], ROOT[variation.root]

    def project(self, matrix: Float32 | ScaledColumns | InPlaceMatrix, x: Array) -> Float32:
        """Multiply: [n, in] -> [n, out].

        Where a quantised block is summed before it is scaled (FW-4), the order is that within a block. Products that
        are scaled one by one are added in index order.
        """
        order = self.variation.matrices
        by_one = isinstance(matrix, ScaledColumns) and not matrix.per_block
        if order == SEQUENTIAL or by_one or isinstance(matrix, InPlaceMatrix):
            return super().project(matrix, x)
        if isinstance(matrix, ScaledColumns):
            return self._project_blocks(matrix, x)
        inputs, outputs = matrix.shape
        result = np.empty((len(x), outputs), np.float32)
        width = max(1, min(outputs, PRODUCTS // max(1, inputs)))
        group = max(1, PRODUCTS // max(1, inputs * width))  # positions at once
        by_column = np.ascontiguousarray(x.T)  # [in, n]

        def tile(bounds: tuple[int, int]) -> None:
            begin, end = bounds
            with np.errstate(all="ignore"):
                for first in range(0, len(x), group):
                    rows = by_column[:, first : first + group, None]  # [in, group, 1]
                    result[first : first + group, begin:end] = order.total(matrix[:, None, begin:end], rows)

        self.each(tile, [(begin, min(begin + width, outputs)) for begin in range(0, outputs, width)])
        return result

    def _project_blocks(self, matrix: ScaledColumns, x: Array) -> Float32:
        """Add block sums times their scales in index order: [n, in] -> [n, out]."""
        total = np.zeros((len(x), matrix.values.shape[1]), np.float32)
        with np.errstate(all="ignore"):
            for block, scales in enumerate(matrix.scales):  # [out]
                part = slice(block * matrix.block_size, (block + 1) * matrix.block_size)
                rows = x.T[part, :, None]  # [block, n, 1]
                total += self.variation.matrices.total(matrix.values[part, None], rows) * scales  # [n, out]
        return total

    # Norms -----------------------------------------------------------------------------------------------------------

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        """Normalise rows: [n, H] -> [n, H] (FW-3)."""
        if not self._any("squares", "mean", "inverse", "normal", "root"):
            return super().rms_norm(x, weight, epsilon)
        total = self.variation.squares.total(x.T, x.T)  # [n]
        argument = self._mean(total, x.shape[1]) + np.float32(epsilon)
        if self.variation.inverse == "divide by root":
            inverse, scaled = self._root(argument)[:, None], operator.truediv
        else:
            inverse, scaled = INVERSE_ROOT[self.variation.inverse](argument, self._root)[:, None], operator.mul
        normal: Array
        if self.variation.normal == "inverse times weight first":
            normal = x * scaled(weight, inverse)
        elif self.variation.normal == "value times weight first":
            normal = scaled(x * weight, inverse)
        else:
            normal = scaled(x, inverse) * weight
        return normal

    def _mean(self, total: Array, count: int) -> Array:
        if self.variation.mean == "multiply by the reciprocal":
            return total * (ONE / np.float32(count))
        if self.variation.mean == "float64":
            return (total.astype(np.float64) / count).astype(np.float32)
        return total / np.float32(count)

    def layer_norm(self, x: Array, weight: Array | None, bias: Array | None, epsilon: float) -> Array:
        """Normalise rows: [n, H] -> [n, H] (GG-11)."""
        order, count = self.variation.squares, x.shape[1]
        if order == SEQUENTIAL:
            return super().layer_norm(x, weight, bias, epsilon)
        centred = x - self._mean(order.total(x.T), count)[:, None]  # [n, H]
        variance = self._mean(order.total(centred.T, centred.T), count)  # [n]
        normal: Array = centred * (ONE / np.sqrt(variance + np.float32(epsilon)))[:, None]  # [n, H]
        if weight is not None:
            normal = normal * weight
        return normal if bias is None else normal + bias

    # Rotation --------------------------------------------------------------------------------------------------------

    def rotary(self, theta: float, head_dim: int, factors: Array | None, scaling: RopeScaling | None) -> Rotary:
        """Prepare the rotary embedding (FW-5)."""
        plain = super().rotary(theta, head_dim, factors, scaling)
        form = self.variation.frequency
        if form == "one divided by power":
            return plain
        exponent = np.arange(0, head_dim, 2).astype(np.float32) / np.float32(head_dim)  # [D/2]
        if form == "power of the negative":
            frequencies = self.power(np.full_like(exponent, theta), -exponent)
        else:
            exact = np.float64(theta) ** (-np.arange(0, head_dim, 2) / np.float64(head_dim))
            frequencies = exact if form == "float64 angles" else exact.astype(np.float32)
        return Rotary(frequencies, plain.factors, plain.stretch, plain.ramp, plain.magnitude)

    def rope_angles(self, position: int, count: int, rotary: Rotary) -> tuple[Array, Array]:
        """Return cosines and sines, each [n, D / 2] (FW-5)."""
        if rotary.frequencies.dtype == np.float32:
            return super().rope_angles(position, count, rotary)
        angles = np.arange(position, position + count)[:, None] * rotary.frequencies  # [n, D/2], float64
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def rope(self, x: Array, cosines: Array, sines: Array) -> Array:
        """Rotate the adjacent pairs of every head: [n, heads, D] -> [n, heads, D] (FW-5)."""
        form = self.variation.rotation
        if form == "rounded":
            return super().rope(x, cosines, sines)
        first, second = x[..., 0::2], x[..., 1::2]  # [n, heads, D/2]
        cosine, sine = cosines[:, None, :], sines[:, None, :]  # [n, 1, D/2]
        rotated = np.empty_like(x)
        if form == "fused second":
            rotated[..., 0::2] = rounded_once(-second, sine, first * cosine)
            rotated[..., 1::2] = rounded_once(second, cosine, first * sine)
        else:
            rotated[..., 0::2] = rounded_once(first, cosine, -(second * sine))
            rotated[..., 1::2] = rounded_once(first, sine, second * cosine)
        return rotated

    # Attention -------------------------------------------------------------------------------------------------------

    def attention(
        self, q: Array, keys: Array, values: Array, position: int, variant: AttentionVariant = PLAIN_ATTENTION
    ) -> Attention:
        """Attend causally: q [n, A, D], keys [D, K, T], values [T, K, D], T = position + n (FW-6)."""
        if not self._any("scores", "weights", "mixed", "scaling", "softmax", "exp", "root"):
            return super().attention(q, keys, values, position, variant)
        n, heads, head_dim = q.shape
        mixed = np.empty_like(q)
        scores = np.full((heads, n, position + n), -np.inf, np.float32)
        weights = np.zeros((heads, n, position + n), np.float32)
        group = heads // keys.shape[1]
        sinks = None if variant.sinks is None else variant.sinks.reshape(-1, group, 1)  # [K, G, 1]
        for row in range(n):
            end = position + row + 1
            first = max(0, end - variant.window) if variant.window else 0
            # One more axis for the queries of a group: [K, G, ...].
            query = q[row].reshape(-1, group, head_dim).transpose(2, 0, 1)  # [D, K, G]
            scored = self._scores(query, keys[:, :, first:end], variant)  # [K, G, T]
            weight = self._weights(scored, sinks)  # [K, G, T]
            by_time = np.ascontiguousarray(weight.transpose(2, 0, 1))[..., None]  # [T, K, G, 1]
            total = self.variation.mixed.total(by_time, values[first:end, :, None, :])  # [K, G, D]
            mixed[row] = total.reshape(heads, head_dim)
            scores[:, row, first:end] = scored.reshape(heads, -1)
            weights[:, row, first:end] = weight.reshape(heads, -1)
        return Attention(mixed, scores, weights)

    def _scores(self, query: Array, keys: Array, variant: AttentionVariant) -> Array:
        """Return scaled scores: [D, K, G], [D, K, T] -> [K, G, T]."""
        head_dim, form = query.shape[0], self.variation.scaling
        root = self._root(np.array([head_dim], np.float32))[0]
        scale = ONE / root
        if variant.scale is not None:
            scale, root = np.float32(variant.scale), ONE / np.float32(variant.scale)
        elif form == "reciprocal from float64":
            scale = np.float32(1 / np.sqrt(head_dim))
        if form == "queries first":
            query = query * scale
        elif form == "queries divided first":
            query = query / root
        scores: Array = self.variation.scores.total(query[..., None], keys[:, :, None, :])  # [K, G, T]
        if form == "divide by root":
            scores = scores / root
        elif not form.startswith("queries"):
            scores = scores * scale
        return self.softcap(scores, variant.softcap) if variant.softcap else scores

    def softmax(self, scores: Array, seen: Array, sinks: Array | None = None) -> Array:
        """Normalise over the last axis: [A, n, T] -> [A, n, T] (FW-6)."""
        if not self._any("weights", "softmax", "exp") or not seen.all():
            return super().softmax(scores, seen, sinks)
        return self._weights(scores, None if sinks is None else sinks[:, None, None])

    def _weights(self, scores: Array, sinks: Array | None) -> Array:
        """Normalise over the last axis, all of it seen: [..., T] -> [..., T]; sinks [..., 1]."""
        maximum = scores.max(axis=-1, keepdims=True)
        if sinks is not None:
            maximum = np.maximum(maximum, sinks)
        exponentials = self.exp(scores - maximum)
        sums = self.variation.weights.total(np.moveaxis(exponentials, -1, 0))[..., None]
        if sinks is not None:
            sums = sums + self.exp(sinks - maximum)
        if self.variation.softmax == "divide":
            return np.asarray(exponentials / sums)
        return np.asarray(exponentials * (ONE / sums))

    # Elements --------------------------------------------------------------------------------------------------------

    def silu(self, x: Array) -> Array:
        """Return x / (1 + exp(-x)) (FW-7)."""
        form = self.variation.silu
        if form == "divide" and not self._any("exp"):
            return super().silu(x)
        if form == "float64":
            exact = x.astype(np.float64)
            return np.asarray(exact / (1 + np.exp(-exact)), np.float32)
        denominator = ONE + self.exp(-x)
        return np.asarray(x / denominator if form == "divide" else x * (ONE / denominator))

    def exp(self, x: Array) -> Array:
        """Return e to the power of x."""
        return self._exp(x) if self._any("exp") else super().exp(x)

    def sin(self, x: Array) -> Array:
        """Return the sine."""
        return SINE[self.variation.sine][0](x)

    def cos(self, x: Array) -> Array:
        """Return the cosine."""
        return SINE[self.variation.sine][1](x)

    def power(self, base: Array, exponent: Array) -> Array:
        """Return base to the power of exponent."""
        return self._power(base, exponent)

    def _any(self, *names: str) -> bool:
        return any(self.variation.differs(name) for name in names)
