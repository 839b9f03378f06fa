"""Profile `ggml32`: what llama.cpp computes with ggml's generic scalar kernels, bit for bit.

Plain NumPy is the definition. It differs from `seq32` in this: inputs of quantised products are quantised too, long
sums run in float64 (`ggml_float`), rotary angles are products of one step, softmax multiplies by a reciprocal.
Source: ggml's `ggml-cpu/ops.cpp`, `vec.h`, `vec.cpp`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.base import PLAIN_ATTENTION, Array, Attention, AttentionVariant, Numerics, add_rows
from refruntime.numerics.compiled.loading import Loader, Notice
from refruntime.numerics.ggml32 import dots as products
from refruntime.numerics.ggml32.activations import as_half, quantize_q8_0
from refruntime.numerics.ggml32.c_library import LIBRARIES
from refruntime.numerics.ggml32.c_logarithms import logarithm, power
from refruntime.numerics.ggml32.flash import flash_mix, flash_tiles
from refruntime.numerics.ggml32.formulas import gelu, yarn_magnitude
from refruntime.numerics.ggml32.matrix import StoredMatrix, stored_matrix
from refruntime.numerics.ggml32.switches import Switches
from refruntime.numerics.rotary import RopeScaling, Rotary
from refruntime.numerics.sources import RowSource
from refruntime.numerics.whole_step import PlainModel, Step

if TYPE_CHECKING:
    from refruntime.numerics.ggml32.compiled import CompiledProducts

Float32 = NDArray[np.float32]

ONE: Final = np.float32(1)
GELU_LINEAR: Final = np.float32(10)
"""From this magnitude on, GELU by the table is 0 or the number itself."""


class Ggml32(Numerics):
    """The generic kernels of ggml with the given switches. No sum depends on how many positions go through at once.

    `kernels`: "numpy", the definition; "numba", compiled loops with the same bits, ImportError where they cannot be
    loaded; "auto" turns to them when so much was multiplied that loading them pays.
    """

    dtype = np.float32
    storage = "blocks"
    scales_queries_of_states = False
    halves_queries = True
    """Whether queries and weights of attention are rounded as keys are; WebAssembly builds do not."""

    def __init__(self, switches: Switches | None = None, threads: int | None = None, kernels: str = "auto") -> None:
        self.switches = switches if switches is not None else Switches()
        self.name = str(self.switches)
        self._library = LIBRARIES[self.switches.libm]
        # llama.cpp has a cache of blocks with flash attention alone, and never in tiles
        self._flash = "on" if self.switches.kv == "q8_0" else self.switches.flash
        self._halved = self.switches.flash != "off" and self.switches.kv == "f32"  # llama.cpp casts them for that
        self._gelu_table: Float32 | None = None
        self._loader = Loader(kernels, partial(_compiled_products, threads))

    # Products ----------------------------------------------------------------------------------------------------

    def matrix(self, sources: Sequence[RowSource]) -> StoredMatrix:
        """Keep matrices that share their input as they are stored."""
        return stored_matrix(sources)

    def matrix_rows(self, matrix: StoredMatrix, ids: Sequence[int]) -> Float32:
        """Return decoded rows of the only matrix, such as embeddings: ids [n] -> [n, in]."""
        return matrix.rows(ids)

    def project(self, matrix: StoredMatrix, x: Array) -> Float32:
        """Multiply: [n, in] -> [n, out]; x is quantised as the type of each matrix asks."""
        return matrix.project(np.ascontiguousarray(x), self._loader.spend(matrix.size * len(x)))

    def prepare(self) -> None:
        """Load the compiled loops now, where numba is there and they are not excluded."""
        self._loader.prepare()

    @property
    def kernels(self) -> str:
        """Return which loops run now: `numpy` or `numba`."""
        return self._loader.kernels

    def whole_step(self, model: PlainModel) -> Step | None:
        """Return a program of compiled operations for a small model, once they are loaded; without flash attention."""
        if self._loader.loops is None or type(self) is not Ggml32 or self._flash != "off" or not self.halves_queries:
            return None
        from refruntime.numerics.ggml32.step import WholeStep, suits

        scale = self.attention_scale(model.heads, model.head_dim)
        return WholeStep(model, self.switches.kv == "f16", self.rope_angles, scale) if suits(model) else None

    def sum_rows(self, terms: Array) -> Float32:
        """Add the rows of [k, m] in index order from 0.0: -> [m]."""
        return add_rows(np.ascontiguousarray(terms)) + np.float32(0)

    def read_state(self, terms: Array) -> Float32:
        """Add the rows of [k, m] in float64: -> [m]."""
        return products.exact_total(terms.T).astype(np.float32)

    # Norms -------------------------------------------------------------------------------------------------------

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Float32:
        """Normalise rows: [n, H] -> [n, H]; the squares are added in float64."""
        mean = (products.exact_total(x * x) / x.shape[1]).astype(np.float32)  # [n]
        normal: Float32 = x * (ONE / np.sqrt(mean + np.float32(epsilon)))[:, None] * weight
        return normal

    def layer_norm(self, x: Array, weight: Array | None, bias: Array | None, epsilon: float) -> Float32:
        """Normalise rows: [n, H] -> [n, H]; both sums run in float64, the first is rounded before it is divided."""
        count = x.shape[1]
        mean = products.exact_total(x).astype(np.float32) / np.float32(count)  # [n]
        centred = x - mean[:, None]
        variance = (products.exact_total(centred * centred) / count).astype(np.float32)
        normal: Float32 = centred * (ONE / np.sqrt(variance + np.float32(epsilon)))[:, None]
        if weight is not None:
            normal = normal * weight
        return normal if bias is None else normal + bias

    # Residual stream, logits -------------------------------------------------------------------------------------

    def parallel_sum(self, x: Array, attention: Array, feed_forward: Array, order: str) -> Array:
        """Add both blocks of a parallel layer to its input in the order of llama.cpp's description of the model."""
        total: Array = (attention + feed_forward) + x if order == "input last" else (feed_forward + x) + attention
        return total

    def divided(self, x: Array, divisor: Any) -> Float32:
        """Multiply by the reciprocal, rounded."""
        quotient: Float32 = x * (ONE / np.float32(divisor))
        return quotient

    # Rotation ----------------------------------------------------------------------------------------------------

    def rotary(self, theta: float, head_dim: int, factors: Array | None, scaling: RopeScaling | None) -> Rotary:
        """Prepare the rotary embedding: `frequencies` are 1 and then always theta^(-2 / D), to be multiplied up."""
        step = power(np.float32(theta), np.float32(-2) / np.float32(head_dim))
        frequencies = np.full(head_dim // 2, step, np.float32)
        frequencies[0] = 1
        if scaling is None:
            return Rotary(frequencies, factors)
        stretch = ONE / np.float32(scaling.factor)
        if scaling.kind != "yarn":
            return Rotary(frequencies, factors, stretch=stretch)
        ramp = ONE - (1 - np.array(scaling.ramp(theta, head_dim))).astype(np.float32)  # [D/2]
        return Rotary(frequencies, factors, stretch, ramp, yarn_magnitude(ONE / stretch, scaling.log_multiplier))

    def rope_angles(self, position: int, count: int, rotary: Rotary) -> tuple[Array, Array]:
        """Return cosines and sines, each [n, D / 2]: the angle of a pair is that of the one before times a step."""
        steps = np.repeat(rotary.frequencies[None], count, axis=0)  # [n, D/2]
        steps[:, 0] = np.arange(position, position + count).astype(np.float32)
        angles = np.multiply.accumulate(steps, axis=1)
        if rotary.factors is not None:
            angles = angles / rotary.factors
        if rotary.stretch is not None:
            own, angles = angles, rotary.stretch * angles
            if rotary.ramp is not None:
                angles = angles * (ONE - rotary.ramp) + own * rotary.ramp
        cosines, sines = self.cos(angles), self.sin(angles)
        if rotary.magnitude is not None:
            cosines, sines = cosines * rotary.magnitude, sines * rotary.magnitude
        return cosines, sines

    # Attention ---------------------------------------------------------------------------------------------------

    def kept(self, x: Array) -> Array:
        """Return keys or values [n, K, D] as the cache holds them; D below 32 is never stored as q8_0."""
        if self.switches.kv == "f16" or self._halved:
            return as_half(x)
        if self.switches.kv == "q8_0" and x.shape[-1] % 32 == 0:
            blocks = quantize_q8_0(x.reshape(-1, x.shape[-1]))
            return (blocks.quants * blocks.scales[:, :, None]).reshape(x.shape)
        return x

    def attention(
        self, q: Array, keys: Array, values: Array, position: int, variant: AttentionVariant = PLAIN_ATTENTION
    ) -> Attention:
        """Attend causally, a key/value head at a time: q [n, A, D], keys [D, K, T], values [T, K, D].

        Both products add in float64; with half-precision keys and values, queries and weights are rounded to half
        precision before them.
        """
        n, heads, head_dim = q.shape
        kv_heads, visible = keys.shape[1:]
        group = heads // kv_heads
        scale = self.attention_scale(heads, head_dim) if variant.scale is None else np.float32(variant.scale)
        if variant.queries_scaled:
            q, scale = q * scale, ONE
        seen = self.seen(position, n)  # [n, T]
        if variant.window:
            seen &= np.arange(visible) > np.arange(position, position + n)[:, None] - variant.window
        queries = q.reshape(n, kv_heads, group, head_dim).transpose(1, 0, 2, 3).reshape(kv_heads, -1, head_dim)
        dots = self._scores(keys.transpose(1, 2, 0), queries)  # [K, T, n * G]
        scores = dots.reshape(kv_heads, visible, n, group).transpose(0, 3, 2, 1).reshape(heads, n, visible)
        if variant.softcap:
            scores = self.softcap(scores, variant.softcap)
        scores = np.where(seen, scores * scale, np.float32(-np.inf))
        weights = self.softmax(scores, seen, variant.sinks)
        if self._flash == "tiles":
            return Attention(flash_tiles(scores, values, self.exp, variant.sinks), scores, weights)
        if self._flash == "on":
            blocks = self.switches.kv == "q8_0"  # of which threads share no single token
            threads = 1 if blocks else self.switches.threads
            mixed = flash_mix(scores, values, self.exp, not blocks, variant.sinks, threads)
            return Attention(mixed, scores, weights)
        halved = self.switches.kv == "f16" and self.halves_queries
        stored = as_half(weights) if halved else weights  # [A, n, T]
        part = self._dots(values.transpose(1, 2, 0), stored.reshape(kv_heads, group * n, visible))  # [K, D, G * n]
        mixed = part.reshape(kv_heads, head_dim, group, n).transpose(3, 0, 2, 1).reshape(n, heads, head_dim)
        return Attention(mixed, scores, weights)

    def _scores(self, keys: Float32, queries: Float32) -> Float32:
        """Multiply keys [K, T, D] with queries [K, n, D]: -> [K, T, n]."""
        if self._flash == "tiles":
            return products.of_heads(products.dot_in_float32, keys, queries)
        if self.switches.kv == "q8_0" and keys.shape[2] % 32 == 0:
            return products.of_heads(products.dot_of_decoded_blocks, keys, queries)
        return self._dots(keys, self.kept(queries) if self.halves_queries else queries)

    def _dots(self, rows: Float32, x: Float32) -> Float32:
        """Multiply [K, r, k] with [K, n, k] as plain float32: -> [K, r, n]."""
        loops = self._loader.loops
        if loops is None:
            return products.of_heads(products.dot_in_float64, rows, x)
        return loops.plain_of_heads(rows.transpose(0, 2, 1), x)

    def softmax(self, scores: Array, seen: Array, sinks: Array | None = None) -> Float32:
        """Normalise over the last axis: the sum runs in float64, and its reciprocal is rounded and multiplied."""
        maximum = scores.max(axis=-1, keepdims=True)  # [A, n, 1]
        if sinks is not None:
            maximum = np.maximum(maximum, sinks[:, None, None])
        exponentials = np.where(seen, self.exp(scores - maximum), np.float32(0))  # [A, n, T]
        sums = products.exact_total(exponentials.reshape(-1, scores.shape[-1])).reshape(*scores.shape[:2], 1)
        if sinks is not None:
            sums = sums + self.exp(sinks[:, None, None] - maximum).astype(np.float64)
        normalised: Float32 = exponentials * (1 / sums).astype(np.float32)
        return normalised

    # Elementary functions ----------------------------------------------------------------------------------------

    def exp(self, x: Array) -> Float32:
        """Return expf of the C library."""
        return self._library.exp(x)

    def sin(self, x: Array) -> Float32:
        """Return sinf of the C library."""
        return self._library.sin(x)

    def cos(self, x: Array) -> Float32:
        """Return cosf of the C library."""
        return self._library.cos(x)

    def tanh(self, x: Array) -> Float32:
        """Return tanhf of the C library."""
        return self._library.tanh(x)

    def erf(self, x: Array) -> Float32:
        """Return the error function, evaluated in float64 and rounded once."""
        return self._library.erf(x)

    def power(self, base: Array, exponent: Array) -> Float32:
        """Return powf, evaluated in float64 and rounded once."""
        return power(base, exponent)

    @np.errstate(all="ignore")
    def gelu_tanh(self, x: Array) -> Float32:
        """Return GELU by its table of all half-precision numbers, or evaluated, as the switch says."""
        if self.switches.gelu == "f32":
            return gelu(x, self.tanh)
        if self._gelu_table is None:
            halves = np.arange(1 << 16).astype(np.uint16).view(np.float16).astype(np.float32)
            self._gelu_table = as_half(gelu(halves, self.tanh))
        looked_up = self._gelu_table[x.astype(np.float16).view(np.uint16)]
        activated: Float32 = np.where(x <= -GELU_LINEAR, np.float32(0), np.where(x >= GELU_LINEAR, x, looked_up))
        return activated

    def gelu_erf(self, x: Array) -> Float32:
        """Return 0.5 x (1 + erf(x * (1 / sqrt(2)))), left to right."""
        activated: Float32 = np.float32(0.5) * x * (ONE + self.erf(x * np.float32(math.sqrt(0.5))))
        return activated

    def softcap(self, x: Array, cap: float) -> Float32:
        """Return cap * tanh(x * (1 / cap))."""
        limit = np.float32(cap)
        capped: Float32 = limit * self.tanh(x * (ONE / limit))
        return capped

    def softplus(self, x: Array) -> Float32:
        """Return x beyond 20, else ln(1 + exp(x)) with each step in float32."""
        result: Array = np.where(x > 20, x, logarithm(ONE + self.exp(x)))
        return result


def _compiled_products(threads: int | None, notice: Notice) -> CompiledProducts:
    from refruntime.numerics.ggml32.compiled import CompiledProducts

    return CompiledProducts(threads, notice)
