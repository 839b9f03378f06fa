"""Hypotheses on the order and the rounding of dot products (FW-4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from refruntime.hypotheses.faults.topic import Topic
from refruntime.hypotheses.hypothesis import Changes
from refruntime.numerics import Seq32
from refruntime.numerics.base import Array
from refruntime.numerics.seq32 import ScaledColumns

FAULTS: Final = Topic("arithmetic", forwards=True)

Adder = Callable[[Array, Array], Array]
"""Add the products of two arrays [k, ...] that broadcast: -> [...]."""


class _Products(Seq32):
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


for _name, _text, _add in _ADDERS:
    for _where, _subject, _in_attention in (
        ("", "dot products", True),
        ("-matrices", "matrix-vector products alone", False),
    ):
        _changes = Changes(numerics=partial(_Products, _add, _in_attention))
        FAULTS.add(f"dot-{_name}{_where}", f"{_subject} {_text}", "FW-4", _changes)
