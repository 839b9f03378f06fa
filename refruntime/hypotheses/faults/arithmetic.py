"""Hypotheses on norms, activations, libm and the residual stream (FW-2, FW-3, FW-7, FW-8)."""

from __future__ import annotations

from typing import Final

import numpy as np

from refruntime.hypotheses.faults.topic import Topic, as_numerics, as_transformer
from refruntime.model.forward import Transformer
from refruntime.model.weights import Norm
from refruntime.numerics import Seq32, libm
from refruntime.numerics.base import Array
from refruntime.trace import Tracer

FAULTS: Final = Topic("arithmetic", forwards=True)


# Residual stream -----------------------------------------------------------------------------------------------------


@FAULTS.fault("final-norm-skipped", "the last norm is left out", "FW-2", as_transformer, "norm")
class _Unnormalised(Transformer):
    """Leave out the norms whose trace name ends with `skipped`."""

    skipped = "output_norm"

    def normalise(self, name: str, x: Array, norm: Norm | None, start: int, tracer: Tracer | None) -> Array:
        h = super().normalise(name, x, norm, start, tracer)
        return x if name.endswith(self.skipped) else h


@FAULTS.fault(
    "ffn-norm-skipped",
    "the feed-forward block reads the residual without its norm",
    "FW-2",
    as_transformer,
    family="ffn",
)
class _FfnInputUnnormalised(_Unnormalised):
    skipped = "ffn_norm"


@FAULTS.fault("attn-norm-skipped", "attention reads the residual without its norm", "FW-2", as_transformer, "attention")
class _AttentionInputUnnormalised(_Unnormalised):
    skipped = "attn_norm"


@FAULTS.fault("ffn-residual-dropped", "the feed-forward output replaces the residual", "FW-2", as_transformer, "ffn")
class _ResidualDropped(Transformer):
    """Replace the residual stream by the update where the trace name ends with `dropped`."""

    dropped = ".residual"

    def add(self, name: str, x: Array, update: Array, start: int, tracer: Tracer | None) -> Array:
        return super().add(name, np.zeros_like(x) if name.endswith(self.dropped) else x, update, start, tracer)


@FAULTS.fault(
    "attn-residual-dropped", "the attention output replaces the residual", "FW-2", as_transformer, "attention"
)
class _AttentionResidualDropped(_ResidualDropped):
    dropped = ".attn_residual"


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


@FAULTS.fault("norm-no-epsilon", "the norm has no epsilon", "FW-3", as_numerics, "norm")
class _NoEpsilon(_RmsNorm):
    def inverse(self, mean: Array, epsilon: np.float32) -> Array:
        return super().inverse(mean, np.float32(0))


@FAULTS.fault("norm-epsilon-outside", "epsilon is added after the square root", "FW-3", as_numerics, "norm")
class _EpsilonOutside(_RmsNorm):
    def inverse(self, mean: Array, epsilon: np.float32) -> Array:
        inverse: Array = np.float32(1) / (np.sqrt(mean) + epsilon)
        return inverse


@FAULTS.fault(
    "norm-weight-first", "the inverse is multiplied by the weight before the value", "FW-3", as_numerics, "norm"
)
class _WeightFirst(_RmsNorm):
    def product(self, x: Array, inverse: Array, weight: Array) -> Array:
        product: Array = x * (inverse * weight)
        return product


@FAULTS.fault("norm-weight-times-value", "value times weight comes before the inverse", "FW-3", as_numerics, "norm")
class _WeightTimesValueFirst(_RmsNorm):
    def product(self, x: Array, inverse: Array, weight: Array) -> Array:
        return x * weight * inverse


@FAULTS.fault(
    "norm-divided",
    "the value is divided by the root instead of multiplied by 1 / root",
    "FW-3",
    as_numerics,
    family="norm",
)
class _DividedByRoot(_RmsNorm):
    def inverse(self, mean: Array, epsilon: np.float32) -> Array:
        root: Array = np.sqrt(mean + epsilon)
        return root

    def product(self, x: Array, inverse: Array, weight: Array) -> Array:
        return x / inverse * weight


@FAULTS.fault("norm-double", "the mean of squares is taken in float64", "FW-3", as_numerics, "norm")
class _MeanInDouble(_RmsNorm):
    def mean(self, x: Array) -> Array:
        squares = x.astype(np.float64) ** 2
        mean: Array = (np.add.accumulate(squares, axis=1)[:, -1] / x.shape[1]).astype(np.float32)
        return mean


@FAULTS.fault("norm-epsilon-1e-5", "epsilon is always 1e-5", "FW-3", as_numerics, "norm")
class _FixedEpsilon(_RmsNorm):
    value = 1e-5

    def inverse(self, mean: Array, epsilon: np.float32) -> Array:
        return super().inverse(mean, np.float32(self.value))


@FAULTS.fault("norm-epsilon-1e-6", "epsilon is always 1e-6", "FW-3", as_numerics, "norm")
class _SmallerFixedEpsilon(_FixedEpsilon):
    value = 1e-6


@FAULTS.fault("norm-centred", "the mean is subtracted first (LayerNorm)", "FW-3", as_numerics, "norm")
class _LayerNorm(_RmsNorm):
    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        centre = self.sum_rows(x.T) / np.float32(x.shape[1])  # [n]
        return super().rms_norm(x - centre[:, None], weight, epsilon)


@FAULTS.fault("norm-one-plus-weight", "1 is added to the weight of the norm", "FW-3", as_numerics, "norm")
class _WeightPlusOne(_RmsNorm):
    def product(self, x: Array, inverse: Array, weight: Array) -> Array:
        return super().product(x, inverse, weight + np.float32(1))


@FAULTS.fault("gelu", "the activation is GELU (tanh form)", "FW-7", as_numerics, "ffn")
class _Gelu(Seq32):
    """GELU in the tanh form of Hendrycks and Gimpel, "Gaussian Error Linear Units"."""

    def silu(self, x: Array) -> Array:
        inner = np.float32(0.7978846) * (x + np.float32(0.044715) * x * x * x)
        activated: Array = np.float32(0.5) * x * (np.float32(1) + libm.tanhf(inner))
        return activated


@FAULTS.fault("relu", "the activation is ReLU", "FW-7", as_numerics, "ffn")
class _Relu(Seq32):
    def silu(self, x: Array) -> Array:
        activated: Array = np.maximum(x, np.float32(0))
        return activated


@FAULTS.fault("sigmoid", "the activation is the sigmoid alone", "FW-7", as_numerics, "ffn")
class _Sigmoid(Seq32):
    def silu(self, x: Array) -> Array:
        activated: Array = np.float32(1) / (np.float32(1) + self.exp(-x))
        return activated


@FAULTS.fault("silu-product", "silu is g * (1 / (1 + exp(-g)))", "FW-7", as_numerics, "ffn")
class _SigmoidTimesValue(Seq32):
    def silu(self, x: Array) -> Array:
        activated: Array = x * (np.float32(1) / (np.float32(1) + self.exp(-x)))
        return activated


@FAULTS.fault("exp-rounded", "expf is computed in float64 and rounded once", "FW-8", as_numerics)
class _RoundedExp(Seq32):
    def exp(self, x: Array) -> Array:
        return np.exp(x.astype(np.float64)).astype(np.float32)


@FAULTS.fault("angles-rounded", "sinf and cosf are computed in float64 and rounded once", "FW-8", as_numerics)
class _RoundedAngles(Seq32):
    def sin(self, x: Array) -> Array:
        return np.sin(x.astype(np.float64)).astype(np.float32)

    def cos(self, x: Array) -> Array:
        return np.cos(x.astype(np.float64)).astype(np.float32)


@FAULTS.fault("power-rounded", "powf is computed in float64 and rounded once", "FW-8", as_numerics)
class _RoundedPower(Seq32):
    def power(self, base: Array, exponent: Array) -> Array:
        return np.power(base.astype(np.float64), exponent.astype(np.float64)).astype(np.float32)
