"""Formulas of ggml in float32: the magnitude of YaRN, GELU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.ggml32.c_logarithms import logarithm

Float32 = NDArray[np.float32]

ONE: Final = np.float32(1)


def yarn_magnitude(factor: np.float32, multiplier: float) -> np.float32:
    """Return the factor of cosines and sines: llama.cpp cancels ggml's own and multiplies by it again."""
    tenth, growth = np.float32(0.1), logarithm(factor)
    magnitude = tenth * growth + ONE if factor > 1 else ONE
    if multiplier:
        magnitude = magnitude / (tenth * np.float32(multiplier) * growth + ONE if factor > 1 else ONE)
    own = ONE + tenth * growth
    return np.float32(magnitude * (ONE / own) * own)


def gelu(x: Float32, tanh: Callable[[Any], Float32]) -> Float32:
    """Return 0.5 x (1 + tanh(sqrt(2 / pi) x (1 + 0.044715 x x))), left to right."""
    inner = np.float32(math.sqrt(2 / math.pi)) * x * (ONE + np.float32(0.044715) * x * x)
    activated: Float32 = np.float32(0.5) * x * (ONE + tanh(inner))
    return activated
