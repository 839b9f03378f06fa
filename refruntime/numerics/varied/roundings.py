"""How the products and the sums of a dot product are rounded."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Rounding:
    """Products and sums rounded to one type, which is that of the running sum."""

    def __init__(self, factor: type[np.floating[Any]], total: type[np.floating[Any]]) -> None:
        self.factor, self.accumulator = factor, total

    def terms(self, left: Array, right: Array | None) -> Array:
        """Return what is added: of float32 arrays [n, ...] that broadcast -> [n, ...]."""
        product: Array = left if right is None else left.astype(self.factor) * right.astype(self.factor)
        return product.astype(self.accumulator)

    def single(self, terms: Array) -> Array:
        """Return terms [n, ...] as numbers that can be added to each other."""
        return terms

    def run(self, terms: Array, start: Array | None = None) -> Array:
        """Add terms [n, ...] one after the other to `start` [...], by default 0.0: -> [...]."""
        rest = terms.shape[1:]
        rows = np.empty((len(terms) + 1, math.prod(rest)), terms.dtype)
        rows[0] = 0 if start is None else start.reshape(-1)
        rows[1:] = terms.reshape(len(terms), rows.shape[1])
        if rows.shape[1] == 1:  # a single column would be summed pairwise
            single: Array = np.add.accumulate(rows, axis=0)[-1]
            return single.reshape(rest)
        result: Array = np.add.reduce(rows, axis=0)
        return result.reshape(rest)


FACTORS: Final = np.dtype([("left", np.float32), ("right", np.float32)])


class Fused(Rounding):
    """Fused multiply-add in float32: a product is rounded only together with the sum. Sums without products are plain.

    With `twice` both are rounded to float64 first, as a build does that computes a step in float64.
    """

    def __init__(self, twice: bool) -> None:
        super().__init__(np.float32, np.float32)
        self.twice = twice

    def terms(self, left: Array, right: Array | None) -> Array:
        """Return pairs of factors [n, ...]."""
        if right is None:
            return left
        pairs = np.empty(np.broadcast_shapes(left.shape, right.shape), FACTORS)
        pairs["left"], pairs["right"] = left, right
        return pairs

    def single(self, terms: Array) -> Array:
        """Return the rounded products."""
        return terms if terms.dtype != FACTORS else terms["left"] * terms["right"]

    def run(self, terms: Array, start: Array | None = None) -> Array:
        """Add products one after the other."""
        if terms.dtype != FACTORS:
            return super().run(terms, start)
        total = np.zeros(terms.shape[1:], np.float32) if start is None else start
        for pair in terms:
            if self.twice:
                product = pair["left"].astype(np.float64) * pair["right"].astype(np.float64)
                total = (product + total).astype(np.float32)
            else:
                total = rounded_once(pair["left"], pair["right"], total)
        return total.copy() if total is start else total


def rounded_once(left: Array, right: Array, total: Array) -> NDArray[np.float32]:
    """Return left * right + total of float32 arrays, rounded once to float32.

    The sum is rounded to odd first: where it is not exact, to the one of its two neighbours whose last bit is 1. Since
    float64 has more than 24 + 2 bits, the second rounding is then that of the exact sum.
    """
    product = np.asarray(left, np.float64) * np.asarray(right, np.float64)  # exact
    addend = np.asarray(total, np.float64)
    with np.errstate(all="ignore"):
        near = np.asarray(product + addend)
        back = near - product
        error = (product - (near - back)) + (addend - back)  # exact (Knuth)
        even = (near.view(np.int64) & 1) == 0
        odd = np.nextafter(near, np.where(error > 0, np.inf, -np.inf))
        return np.where(even & (error != 0) & np.isfinite(near), odd, near).astype(np.float32)


ROUNDINGS: Final[dict[str, Rounding]] = {
    "float32": Rounding(np.float32, np.float32),
    "fused": Fused(twice=False),
    "fused in float64": Fused(twice=True),
    "float64 sum": Rounding(np.float32, np.float64),
    "float64": Rounding(np.float64, np.float64),
}
