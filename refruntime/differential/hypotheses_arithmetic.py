"""Hypotheses on sums, norms, activations and the residual stream (FW-2, FW-3, FW-4, FW-7, FW-8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from refruntime.differential.hypotheses import Changes, Hypothesis
from refruntime.model.forward import Transformer
from refruntime.numerics import Seq32, libm
from refruntime.numerics.base import Array
from refruntime.numerics.seq32 import ScaledColumns
from refruntime.trace import Tracer


class VariedSeq32(Seq32):
    """Seq32 in one thread and plain NumPy, so that every method can be replaced."""

    def __init__(self) -> None:
        super().__init__(1, "numpy")


# Dot products --------------------------------------------------------------------------------------------------------

Adder = Callable[[Array, Array], Array]
"""Add the products of two arrays [k, ...] that broadcast: -> [...]."""


class _Products(VariedSeq32):
    """Add the products of matrix rows in another way, and with `in_attention` those of queries and keys too."""

    def __init__(self, add: Adder, in_attention: bool) -> None:
        super().__init__()
        self._add, self._in_attention = add, in_attention

    def project(self, matrix: Any, x: Array) -> Any:
        if isinstance(matrix, ScaledColumns):
            return super().project(matrix, x)
        return np.stack([self._add(matrix, row[:, None]) for row in x])  # [n, out]

    def dots(self, queries: Array, keys: Array) -> Array:
        if not self._in_attention:
            return super().dots(queries, keys)
        return self._add(queries[..., None], keys[:, :, None, None, :]).reshape(-1)


def _in_order(terms: Array) -> Array:
    """Add along the first axis in index order from 0.0."""
    result: Array = np.add.accumulate(terms, axis=0)[-1] + terms.dtype.type(0)
    return result


def _lanes(count: int, combine: Callable[[list[Array]], Array]) -> Adder:
    """Add every count-th product in a sum of its own; products that fill no group are added at the end, in order."""

    def add(left: Array, right: Array) -> Array:
        terms = left * right
        whole = len(terms) - len(terms) % count
        if whole == 0:
            return _in_order(terms)
        total = combine([_in_order(terms[lane:whole:count]) for lane in range(count)])
        for term in terms[whole:]:
            total = total + term
        return total

    return add


def _neighbours(parts: list[Array]) -> Array:
    """Add (0 + 1) + (2 + 3)."""
    while len(parts) > 1:
        parts = [first + second for first, second in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _halves(parts: list[Array]) -> Array:
    """Add (0 + 2) + (1 + 3), as SIMD reductions do."""
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [first + second for first, second in zip(parts[:half], parts[half:], strict=True)]
    return parts[0]


def _one_by_one(parts: list[Array]) -> Array:
    """Add ((0 + 1) + 2) + 3."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _unrolled(left: Array, right: Array) -> Array:
    """Add four products to each other before the sum."""
    terms = left * right
    whole = len(terms) - len(terms) % 4
    groups = [((terms[i] + terms[i + 1]) + terms[i + 2]) + terms[i + 3] for i in range(0, whole, 4)]
    return _in_order(np.stack([*groups, *terms[whole:]]))


def _reversed(left: Array, right: Array) -> Array:
    return _in_order((left * right)[::-1])


def _pairwise(left: Array, right: Array) -> Array:
    """Split in halves until single products are left."""

    def total(terms: Array) -> Array:
        if len(terms) == 1:
            one: Array = terms[0]
            return one
        middle = len(terms) // 2
        return total(terms[:middle]) + total(terms[middle:])

    return total(left * right)


def _fused(left: Array, right: Array) -> Array:
    """Round product and sum once: the product of two float32 is exact in float64."""
    total = np.zeros(np.broadcast_shapes(left.shape, right.shape)[1:], np.float32)
    for a, b in zip(left, right, strict=True):
        total = (a.astype(np.float64) * b.astype(np.float64) + total).astype(np.float32)
    return total


def _double_sum(left: Array, right: Array) -> Array:
    return _in_order((left * right).astype(np.float64)).astype(np.float32)


def _double(left: Array, right: Array) -> Array:
    return _in_order(left.astype(np.float64) * right.astype(np.float64)).astype(np.float32)


_ADDERS: Final[tuple[tuple[str, str, Adder], ...]] = (
    ("four-lanes", "are summed in four interleaved partial sums", _lanes(4, _neighbours)),
    ("float64-sum", "are accumulated in float64", _double_sum),
    ("reversed", "are summed from the last column to the first", _reversed),
    ("fused", "round product and sum once (fused multiply-add)", _fused),
    ("float64", "are multiplied and accumulated in float64", _double),
    ("four-lanes-halves", "are summed in four interleaved partial sums, joined (0+2)+(1+3)", _lanes(4, _halves)),
    ("four-lanes-in-order", "are summed in four interleaved partial sums, joined one by one", _lanes(4, _one_by_one)),
    ("two-lanes", "are summed in two interleaved partial sums", _lanes(2, _neighbours)),
    ("eight-lanes", "are summed in eight interleaved partial sums", _lanes(8, _neighbours)),
    ("eight-lanes-halves", "are summed in eight interleaved partial sums, joined as halves", _lanes(8, _halves)),
    ("sixteen-lanes", "are summed in sixteen interleaved partial sums", _lanes(16, _halves)),
    ("unrolled", "are added in groups of four before the sum", _unrolled),
    ("pairwise", "are summed pairwise", _pairwise),
)


def _dot_products() -> Iterator[Hypothesis]:
    for name, text, add in _ADDERS:
        for where, subject, rule, in_attention in (
            ("", "dot products", "FW-4", True),
            ("-matrices", "matrix-vector products alone", "FW-4", False),
        ):
            changes = Changes(numerics=lambda add=add, scope=in_attention: _Products(add, scope))  # type: ignore[misc]
            yield Hypothesis(f"dot-{name}{where}", "arithmetic", f"{subject} {text}", rule, changes, forwards=True)


# Norms and activations -----------------------------------------------------------------------------------------------


class _RmsNorm(VariedSeq32):
    """RMSNorm with one of its operations replaced."""

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        inverse = self.inverse(self.mean(x), np.float32(epsilon))[:, None]  # [n, 1]
        return self.product(x, inverse, weight)

    def mean(self, x: Array) -> Array:
        mean: Array = self.sum_rows((x * x).T) / np.float32(x.shape[1])
        return mean

    def inverse(self, mean: Array, epsilon: np.float32) -> Array:
        inverse: Array = np.float32(1) / np.sqrt(mean + epsilon)
        return inverse

    def product(self, x: Array, inverse: Array, weight: Array) -> Array:
        product: Array = x * inverse * weight
        return product


class _NoEpsilon(_RmsNorm):
    def inverse(self, mean: Array, epsilon: np.float32) -> Array:
        return super().inverse(mean, np.float32(0))


class _EpsilonOutside(_RmsNorm):
    def inverse(self, mean: Array, epsilon: np.float32) -> Array:
        inverse: Array = np.float32(1) / (np.sqrt(mean) + epsilon)
        return inverse


class _FixedEpsilon(_RmsNorm):
    value = 1e-5

    def inverse(self, mean: Array, epsilon: np.float32) -> Array:
        return super().inverse(mean, np.float32(self.value))


class _SmallerFixedEpsilon(_FixedEpsilon):
    value = 1e-6


class _WeightFirst(_RmsNorm):
    def product(self, x: Array, inverse: Array, weight: Array) -> Array:
        product: Array = x * (inverse * weight)
        return product


class _WeightTimesValueFirst(_RmsNorm):
    def product(self, x: Array, inverse: Array, weight: Array) -> Array:
        return x * weight * inverse


class _DividedByRoot(_RmsNorm):
    def inverse(self, mean: Array, epsilon: np.float32) -> Array:
        root: Array = np.sqrt(mean + epsilon)
        return root

    def product(self, x: Array, inverse: Array, weight: Array) -> Array:
        return x / inverse * weight


class _MeanInDouble(_RmsNorm):
    def mean(self, x: Array) -> Array:
        squares = x.astype(np.float64) ** 2
        mean: Array = (np.add.accumulate(squares, axis=1)[:, -1] / x.shape[1]).astype(np.float32)
        return mean


class _LayerNorm(_RmsNorm):
    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        centre = self.sum_rows(x.T) / np.float32(x.shape[1])  # [n]
        return super().rms_norm(x - centre[:, None], weight, epsilon)


class _WeightPlusOne(_RmsNorm):
    def product(self, x: Array, inverse: Array, weight: Array) -> Array:
        return super().product(x, inverse, weight + np.float32(1))


class _Gelu(VariedSeq32):
    """GELU in the tanh form of Hendrycks and Gimpel, "Gaussian Error Linear Units"."""

    def silu(self, x: Array) -> Array:
        inner = np.float32(0.7978846) * (x + np.float32(0.044715) * x * x * x)
        activated: Array = np.float32(0.5) * x * (np.float32(1) + libm.tanhf(inner))
        return activated


class _Relu(VariedSeq32):
    def silu(self, x: Array) -> Array:
        activated: Array = np.maximum(x, np.float32(0))
        return activated


class _Sigmoid(VariedSeq32):
    def silu(self, x: Array) -> Array:
        activated: Array = np.float32(1) / (np.float32(1) + self.exp(-x))
        return activated


class _SigmoidTimesValue(VariedSeq32):
    def silu(self, x: Array) -> Array:
        activated: Array = x * (np.float32(1) / (np.float32(1) + self.exp(-x)))
        return activated


class _RoundedExp(VariedSeq32):
    def exp(self, x: Array) -> Array:
        return np.exp(x.astype(np.float64)).astype(np.float32)


class _RoundedAngles(VariedSeq32):
    def sin(self, x: Array) -> Array:
        return np.sin(x.astype(np.float64)).astype(np.float32)

    def cos(self, x: Array) -> Array:
        return np.cos(x.astype(np.float64)).astype(np.float32)


class _RoundedPower(VariedSeq32):
    def power(self, base: Array, exponent: Array) -> Array:
        return np.power(base.astype(np.float64), exponent.astype(np.float64)).astype(np.float32)


_NUMERICS: Final[tuple[tuple[str, str, str, str, type[VariedSeq32]], ...]] = (
    ("norm-no-epsilon", "norm", "the norm has no epsilon", "FW-3", _NoEpsilon),
    ("norm-epsilon-outside", "norm", "epsilon is added after the square root", "FW-3", _EpsilonOutside),
    ("norm-weight-first", "norm", "the inverse is multiplied by the weight before the value", "FW-3", _WeightFirst),
    ("norm-weight-times-value", "norm", "value times weight comes before the inverse", "FW-3", _WeightTimesValueFirst),
    (
        "norm-divided",
        "norm",
        "the value is divided by the root instead of multiplied by 1 / root",
        "FW-3",
        _DividedByRoot,
    ),
    ("norm-double", "norm", "the mean of squares is taken in float64", "FW-3", _MeanInDouble),
    ("norm-epsilon-1e-5", "norm", "epsilon is always 1e-5", "FW-3", _FixedEpsilon),
    ("norm-epsilon-1e-6", "norm", "epsilon is always 1e-6", "FW-3", _SmallerFixedEpsilon),
    ("norm-centred", "norm", "the mean is subtracted first (LayerNorm)", "FW-3", _LayerNorm),
    ("norm-one-plus-weight", "norm", "1 is added to the weight of the norm", "FW-3", _WeightPlusOne),
    ("gelu", "ffn", "the activation is GELU (tanh form)", "FW-7", _Gelu),
    ("relu", "ffn", "the activation is ReLU", "FW-7", _Relu),
    ("sigmoid", "ffn", "the activation is the sigmoid alone", "FW-7", _Sigmoid),
    ("silu-product", "ffn", "silu is g * (1 / (1 + exp(-g)))", "FW-7", _SigmoidTimesValue),
    ("exp-rounded", "arithmetic", "expf is computed in float64 and rounded once", "FW-8", _RoundedExp),
    ("angles-rounded", "arithmetic", "sinf and cosf are computed in float64 and rounded once", "FW-8", _RoundedAngles),
    ("power-rounded", "arithmetic", "powf is computed in float64 and rounded once", "FW-8", _RoundedPower),
)


# Residual stream -----------------------------------------------------------------------------------------------------


class _Unnormalised(Transformer):
    """Leave out the norms whose trace name ends with `skipped`."""

    skipped = "output_norm"

    def _normalise(self, name: str, x: Array, weight: Array, start: int, tracer: Tracer | None) -> Array:
        h = super()._normalise(name, x, weight, start, tracer)
        return x if name.endswith(self.skipped) else h


class _FfnInputUnnormalised(_Unnormalised):
    skipped = "ffn_norm"


class _AttentionInputUnnormalised(_Unnormalised):
    skipped = "attn_norm"


class _ResidualDropped(Transformer):
    """Replace the residual stream by the update where the trace name ends with `dropped`."""

    dropped = ".residual"

    def _add(self, name: str, x: Array, update: Array, start: int, tracer: Tracer | None) -> Array:
        return super()._add(name, np.zeros_like(x) if name.endswith(self.dropped) else x, update, start, tracer)


class _AttentionResidualDropped(_ResidualDropped):
    dropped = ".attn_residual"


_TRANSFORMERS: Final[tuple[tuple[str, str, str, str, type[Transformer]], ...]] = (
    ("final-norm-skipped", "norm", "the last norm is left out", "FW-2", _Unnormalised),
    (
        "ffn-norm-skipped",
        "ffn",
        "the feed-forward block reads the residual without its norm",
        "FW-2",
        _FfnInputUnnormalised,
    ),
    (
        "attn-norm-skipped",
        "attention",
        "attention reads the residual without its norm",
        "FW-2",
        _AttentionInputUnnormalised,
    ),
    ("ffn-residual-dropped", "ffn", "the feed-forward output replaces the residual", "FW-2", _ResidualDropped),
    (
        "attn-residual-dropped",
        "attention",
        "the attention output replaces the residual",
        "FW-2",
        _AttentionResidualDropped,
    ),
)


def arithmetic_hypotheses() -> Iterator[Hypothesis]:
    """Yield the hypotheses of this module, the likely ones first."""
    for name, family, text, rule, transformer in _TRANSFORMERS:
        yield Hypothesis(name, family, text, rule, Changes(transformer=transformer), forwards=True)
    for name, family, text, rule, numerics in _NUMERICS:
        yield Hypothesis(name, family, text, rule, Changes(numerics=numerics), forwards=True)
    yield from _dot_products()
