"""Hypotheses on rotary embedding, attention and the KV cache (FW-5, FW-6, FW-9, GG-8)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.hypotheses.faults.topic import Topic, as_numerics, as_transformer
from refruntime.model.forward import Transformer
from refruntime.model.kv_cache import KVCache
from refruntime.numerics import PLAIN_ATTENTION, Attention, AttentionVariant, RopeScaling, Rotary, Seq32
from refruntime.numerics.base import Array

FAULTS: Final = Topic("attention", forwards=True)


@FAULTS.fault("rope-halves", "rotary pairs are (i, i + D/2)", "FW-5", as_numerics, "rope")
class _SplitHalves(Seq32):
    def rope(self, x: Array, cosines: Array, sines: Array) -> Array:
        half = x.shape[-1] // 2
        adjacent = np.stack([x[..., :half], x[..., half:]], axis=-1).reshape(x.shape)
        rotated = super().rope(adjacent, cosines, sines)
        return np.concatenate([rotated[..., 0::2], rotated[..., 1::2]], axis=-1)


@FAULTS.fault("rope-position", "rotary angles belong to the next position", "FW-5", as_numerics, "rope")
class _PositionShifted(Seq32):
    shift = 1

    def rope_angles(self, position: int, count: int, rotary: Rotary) -> tuple[Array, Array]:
        return super().rope_angles(position + self.shift, count, rotary)


@FAULTS.fault("rope-backwards", "the rotation runs in the other direction", "FW-5", as_numerics, "rope")
class _Backwards(Seq32):
    def rope_angles(self, position: int, count: int, rotary: Rotary) -> tuple[Array, Array]:
        cosines, sines = super().rope_angles(position, count, rotary)
        return cosines, -sines


@FAULTS.fault("rope-missing", "nothing is rotated", "FW-5", as_numerics, "rope")
class _Unrotated(Seq32):
    def rope(self, x: Array, cosines: Array, sines: Array) -> Array:
        return x


@FAULTS.fault("rope-keys-unrotated", "only queries are rotated", "FW-5", as_numerics, "rope")
class _KeysUnrotated(Seq32):
    def rotate(self, q: Array, k: Array, cosines: Array, sines: Array) -> tuple[Array, Array]:
        return self.rope(q, cosines, sines), k


@FAULTS.fault("rope-queries-unrotated", "only keys are rotated", "FW-5", as_numerics, "rope")
class _QueriesUnrotated(Seq32):
    def rotate(self, q: Array, k: Array, cosines: Array, sines: Array) -> tuple[Array, Array]:
        return q, self.rope(k, cosines, sines)


@FAULTS.fault("rope-exponent", "the rotary exponent is i / D", "FW-5", as_numerics, "rope")
class _ExponentHalved(Seq32):
    def power(self, base: Array, exponent: Array) -> Array:
        return super().power(base, exponent * np.float32(0.5))


@FAULTS.fault("rope-theta", "the rotary base is always 10000", "FW-5", as_numerics, "rope")
class _FixedTheta(Seq32):
    value = 10_000.0

    def rotary(self, theta: float, head_dim: int, factors: Array | None, scaling: RopeScaling | None) -> Rotary:
        return super().rotary(self.value, head_dim, factors, scaling)


@FAULTS.fault("rope-theta-500000", "the rotary base is always 500000", "FW-5", as_numerics, "rope")
class _ThetaHalfMillion(_FixedTheta):
    value = 500_000.0


@FAULTS.fault("rope-factors-ignored", "the factors of rope_freqs.weight are ignored", "GG-8", as_numerics, "rope")
class _FactorsIgnored(Seq32):
    def rotary(self, theta: float, head_dim: int, factors: Array | None, scaling: RopeScaling | None) -> Rotary:
        return super().rotary(theta, head_dim, None, scaling)


@FAULTS.fault("rope-factors-multiplied", "angles are multiplied by rope_freqs.weight", "GG-8", as_numerics, "rope")
class _FactorsMultiplied(Seq32):
    def rotary(self, theta: float, head_dim: int, factors: Array | None, scaling: RopeScaling | None) -> Rotary:
        rotary = super().rotary(theta, head_dim, factors, scaling)
        return rotary if factors is None else replace(rotary, frequencies=rotary.frequencies * factors, factors=None)


@FAULTS.fault("scale-hidden", "the attention scale is 1/sqrt(H)", "FW-6", as_numerics)
class _ScaleOfHidden(Seq32):
    def attention_scale(self, heads: int, head_dim: int) -> Any:
        return super().attention_scale(heads, heads * head_dim)


@FAULTS.fault("scale-missing", "there is no attention scale", "FW-6", as_numerics)
class _ScaleMissing(Seq32):
    def attention_scale(self, heads: int, head_dim: int) -> Any:
        return np.float32(1)


@FAULTS.fault("scale-no-root", "the attention scale is 1/D", "FW-6", as_numerics)
class _ScaleWithoutRoot(Seq32):
    def attention_scale(self, heads: int, head_dim: int) -> Any:
        return np.float32(1) / np.float32(head_dim)


@FAULTS.fault("scale-divided", "scores are divided by sqrt(D)", "FW-6", as_numerics)
class _DotsDivided(Seq32):
    """Divide by sqrt(D), which rounds unlike a multiplication with its reciprocal."""

    def attention_scale(self, heads: int, head_dim: int) -> Any:
        return np.float32(1)

    def dots(self, queries: Array, keys: Array) -> Array:
        scaled: Array = super().dots(queries, keys) / np.sqrt(np.float32(queries.shape[0]))
        return scaled


@FAULTS.fault("scale-queries", "queries are scaled before the dot product", "FW-6", as_numerics)
class _QueriesScaled(Seq32):
    def attention_scale(self, heads: int, head_dim: int) -> Any:
        return np.float32(1)

    def dots(self, queries: Array, keys: Array) -> Array:
        return super().dots(queries * super().attention_scale(1, queries.shape[0]), keys)


@FAULTS.fault("current-excluded", "a position does not attend to itself", "FW-6", as_numerics)
class _CurrentExcluded(Seq32):
    def seen(self, position: int, n: int) -> NDArray[np.bool_]:
        own = np.arange(position, position + n)
        seen = super().seen(position, n)
        seen[np.arange(n), own] = own == 0
        return seen


@FAULTS.fault("first-forgotten", "position 0 is never attended to", "FW-6", as_numerics)
class _FirstForgotten(Seq32):
    def seen(self, position: int, n: int) -> NDArray[np.bool_]:
        seen = super().seen(position, n)
        seen[:, 0] = np.arange(position, position + n) == 0
        return seen


@FAULTS.fault("kv-heads-modulo", "query head h uses KV head h mod kv_heads", "GG-8", as_numerics)
class _HeadsModulo(Seq32):
    """Query head a uses key/value head a mod K."""

    def attention(
        self, q: Array, keys: Array, values: Array, position: int, variant: AttentionVariant = PLAIN_ATTENTION
    ) -> Attention:
        heads, kv_heads = q.shape[1], keys.shape[1]
        group = heads // kv_heads
        place = [(head % kv_heads) * group + head // kv_heads for head in range(heads)]
        arranged = np.empty_like(q)
        arranged[:, place] = q
        attention = super().attention(arranged, keys, values, position, variant)
        return Attention(attention.mixed[:, place], attention.scores[place], attention.weights[place])


@FAULTS.fault("softmax-no-maximum", "softmax does not subtract the maximum", "FW-6", as_numerics)
class _SoftmaxWithoutMaximum(Seq32):
    def softmax(self, scores: Array, seen: Array, sinks: Array | None = None) -> Array:
        exponentials = np.where(seen, self.exp(scores), np.float32(0))
        normal: Array = exponentials / self._sums(exponentials)
        return normal

    def _sums(self, exponentials: Array) -> Array:
        heads, n, visible = exponentials.shape
        return self.sum_rows(exponentials.reshape(-1, visible).T).reshape(heads, n, 1)


@FAULTS.fault("softmax-reciprocal", "softmax multiplies by the reciprocal of the sum", "FW-6", as_numerics)
class _SoftmaxReciprocal(_SoftmaxWithoutMaximum):
    def softmax(self, scores: Array, seen: Array, sinks: Array | None = None) -> Array:
        exponentials = np.where(seen, self.exp(scores - scores.max(axis=-1, keepdims=True)), np.float32(0))
        normal: Array = exponentials * (np.float32(1) / self._sums(exponentials))
        return normal


# KV cache ------------------------------------------------------------------------------------------------------------


class _RoundedCache(KVCache):
    """A cache that keeps only `dropped` fewer fraction bits, rounded to even."""

    dropped = 13

    def store(self, layer: int, position: int, keys: NDArray[Any], values: NDArray[Any]) -> None:
        super().store(layer, position, self.rounded(keys), self.rounded(values))

    def rounded(self, numbers: NDArray[Any]) -> NDArray[Any]:
        bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
        half_unit = np.uint32((1 << (self.dropped - 1)) - 1) + (bits >> np.uint32(self.dropped) & np.uint32(1))
        return ((bits + half_unit) & np.uint32(0xFFFFFFFF << self.dropped & 0xFFFFFFFF)).view(np.float32)


class _Bfloat16Cache(_RoundedCache):
    dropped = 16


class _Float16Cache(_RoundedCache):
    def rounded(self, numbers: NDArray[Any]) -> NDArray[Any]:
        return numbers.astype(np.float16).astype(np.float32)


class _Cached(Transformer):
    cache_type: type[KVCache]

    def new_cache(self) -> KVCache:
        return self.cache_type(self.hyperparameters, self.numerics.dtype)


@FAULTS.fault("kv-float16", "keys and values are stored in float16", "FW-9", as_transformer)
class _CachedFloat16(_Cached):
    cache_type = _Float16Cache


@FAULTS.fault("kv-ten-bits", "keys and values are rounded to ten fraction bits", "FW-9", as_transformer)
class _CachedTenBits(_Cached):
    cache_type = _RoundedCache


@FAULTS.fault("kv-bfloat16", "keys and values are stored in bfloat16", "FW-9", as_transformer)
class _CachedBfloat16(_Cached):
    cache_type = _Bfloat16Cache
