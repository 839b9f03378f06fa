"""Hypotheses on norms, activations, libm and the residual stream (FW-2, FW-3, FW-7, FW-8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from refruntime.hypotheses.hypothesis import Changes, Hypothesis
from refruntime.model.forward import Transformer
from refruntime.model.weights import Norm
from refruntime.numerics import Seq32, libm
from refruntime.numerics.base import Array
from refruntime.trace import Tracer

# Norms and activations -----------------------------------------------------------------------------------------------


class _RmsNorm(Seq32):
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


class _Gelu(Seq32):
    """GELU in the tanh form of Hendrycks and Gimpel, "Gaussian Error Linear Units"."""

    def silu(self, x: Array) -> Array:
        inner = np.float32(0.7978846) * (x + np.float32(0.044715) * x * x * x)
        activated: Array = np.float32(0.5) * x * (np.float32(1) + libm.tanhf(inner))
        return activated


class _Relu(Seq32):
    def silu(self, x: Array) -> Array:
        activated: Array = np.maximum(x, np.float32(0))
        return activated


class _Sigmoid(Seq32):
    def silu(self, x: Array) -> Array:
        activated: Array = np.float32(1) / (np.float32(1) + self.exp(-x))
        return activated


class _SigmoidTimesValue(Seq32):
    def silu(self, x: Array) -> Array:
        activated: Array = x * (np.float32(1) / (np.float32(1) + self.exp(-x)))
        return activated


class _RoundedExp(Seq32):
    def exp(self, x: Array) -> Array:
        return np.exp(x.astype(np.float64)).astype(np.float32)


class _RoundedAngles(Seq32):
    def sin(self, x: Array) -> Array:
        return np.sin(x.astype(np.float64)).astype(np.float32)

    def cos(self, x: Array) -> Array:
        return np.cos(x.astype(np.float64)).astype(np.float32)


class _RoundedPower(Seq32):
    def power(self, base: Array, exponent: Array) -> Array:
        return np.power(base.astype(np.float64), exponent.astype(np.float64)).astype(np.float32)


_NUMERICS: Final[tuple[tuple[str, str, str, str, type[Seq32]], ...]] = (
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

    def _normalise(self, name: str, x: Array, norm: Norm | None, start: int, tracer: Tracer | None) -> Array:
        h = super()._normalise(name, x, norm, start, tracer)
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
