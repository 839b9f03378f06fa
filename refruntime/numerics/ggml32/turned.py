"""The arithmetic of ggml32 with roundings of inputs that fall to the other side: how far one such accident carries.

Where an input of a product lies near the middle of two quants, an engine that differs by rounding alone may take the
other one. No order of sums has to show it at the positions of a text, so accidents are made: in some products of each
position the number that lies nearest to the middle is turned over.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.base import Array
from refruntime.numerics.ggml32.activations import QUANTIZERS, Activations, as_half
from refruntime.numerics.ggml32.matrix import ROUNDINGS, BlockRows, PlainRows, StoredMatrix
from refruntime.numerics.ggml32.profile import Ggml32
from refruntime.numerics.ggml32.switches import Switches

Float32 = NDArray[np.float32]

SHARE: Final = 0.25
"""Of the roundings of a position, the share that has an accident: how many are made, not how far one carries.

Measured: from 0.1 to 0.6 no verdict of `judge` on the six planted faults and on engines without one is another."""


class Turned(Ggml32):
    """Ggml32 where in some products a number is rounded to the other side; `seed` says in which."""

    def __init__(self, switches: Switches, seed: int = 1) -> None:
        super().__init__(switches)
        self._random = np.random.default_rng(seed)
        self.name = f"{self.name} (roundings turned over)"

    def project(self, matrix: StoredMatrix, x: Array) -> Float32:
        """Multiply: [n, in] -> [n, out]."""
        self._loader.spend(matrix.size * len(x))
        x = np.ascontiguousarray(x)
        return np.concatenate([self._part(part, x) for part in matrix.parts]).T

    def _part(self, part: PlainRows | BlockRows, x: Float32) -> Float32:
        """Multiply: [n, in] -> [out, n]."""
        if isinstance(part, PlainRows):
            rounded = ROUNDINGS[part.rounding](x)
            return part.project(rounded_otherwise(x, rounded, self._random), self._loader.loops)
        kind = part.blocks.form.activation
        return part.multiply(self._turned(x, QUANTIZERS[kind](x), kind), self._loader.loops)

    def kept(self, x: Array) -> Array:
        """Return keys, values or queries as they are kept, some rounded to the other side in half precision."""
        kept = super().kept(x)
        if self.switches.kv == "q8_0":
            return kept
        flat = rounded_otherwise(x.reshape(len(x), -1), kept.reshape(len(x), -1), self._random)
        return as_half(flat).reshape(x.shape) if kept is not x else kept

    def _turned(self, x: Float32, activations: Activations, kind: str) -> Activations:
        """Turn one quant of some rows over."""
        quants, scales = activations.quants.copy(), activations.scales
        with np.errstate(all="ignore"):
            exact = x.reshape(quants.shape) / scales[:, :, None]
        rest = np.where(np.isfinite(exact) & (np.abs(quants) < 127), exact - quants, np.float32(0))
        rows, places, one = _nearest_to_middle(rest.reshape(len(quants), -1), self._random)
        step = np.sign(one).astype(np.int8)
        quants.reshape(len(quants), -1)[rows, places] += step
        sums = activations.sums.copy()
        if kind == "q8_1":
            blocks = places // quants.shape[2]
            sums[rows, blocks] = as_half(sums[rows, blocks] + step * scales[rows, blocks])
        return Activations(quants, scales, sums)


def rounded_otherwise(x: Array, rounded: Array, random: np.random.Generator) -> Array:
    """Return rounded rows [n, m] of x with one number of some rows about one step to the other side of it."""
    rows, places, rest = _nearest_to_middle(x - rounded, random)
    moved = rounded.copy()
    moved[rows, places] += 2 * rest
    return moved


def _nearest_to_middle(rest: Any, random: np.random.Generator) -> tuple[Any, Any, Any]:
    """Return of some rows [n, m] which they are, where the largest rest lies, and that rest."""
    rows = np.flatnonzero(random.random(len(rest)) < SHARE)
    places = np.abs(rest[rows]).argmax(axis=1) if rows.size else rows
    return rows, places, rest[rows, places]
