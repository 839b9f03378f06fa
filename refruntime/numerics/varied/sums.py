"""Orders in which the terms of a sum are added, and how products and sums are rounded.

    order = SumOrder.read("8 lanes, tail after, halves, fused")
    order.total(w, x)    # [n, m], [n, 1] -> [m]

Every sum starts at 0.0. Names, in this order, `float32` and what does not apply left out:

    shape      sequential | reversed | K lanes | blocks of B | groups of B | K parts | pairwise [of B] | halving | NumPy
    tail       what is left when K lanes are full: see `shapes.TAILS`
    reduction  how K partial sums, or the terms of a group, become one: see `shapes.REDUCTIONS`
    rounding   float32 | fused | fused in float64 | float64 sum | float64: see `roundings.ROUNDINGS`
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.varied.roundings import ROUNDINGS, Rounding
from refruntime.numerics.varied.shapes import (
    FOURS,
    REDUCTIONS,
    TAILS,
    groups,
    halving,
    joined,
    lanes,
    numpy_order,
    pairwise,
)

Array = NDArray[Any]

_SHAPES: Final = (
    (r"sequential", "sequential"),
    (r"reversed", "reversed"),
    (r"(\d+) lanes", "lanes"),
    (r"blocks of (\d+)", "blocks"),
    (r"groups of (\d+)", "groups"),
    (r"(\d+) parts", "parts"),
    (r"pairwise", "pairwise"),
    (r"pairwise of (\d+)", "pairwise"),
    (r"pairwise by powers of two", "powers"),
    (r"pairwise by powers of two of (\d+)", "powers"),
    (r"halving", "halving"),
    (r"NumPy", "NumPy"),
)
MOST_COUNT: Final = 4096


@dataclass(frozen=True)
class SumOrder:
    """One order of additions with its rounding; made by `read` from its name."""

    name: str
    shape: str
    count: int
    tail: str
    reduction: str
    rounding: str

    @classmethod
    @cache
    def read(cls, name: str) -> Self:
        """Return the order of a name; ValueError says which part of it is not known."""
        words = [word.strip() for word in name.split(",")]
        shape, count = _read_shape(words[0])
        tail = reduction = ""
        rounding = "float32"
        for word in words[1:]:
            if word in TAILS and shape == "lanes":
                tail = word
            elif (word in REDUCTIONS or FOURS.fullmatch(word)) and shape in ("lanes", "groups"):
                reduction = word
            elif word in ROUNDINGS:
                rounding = word
            else:
                raise ValueError(f"unknown part {word!r} of the order of sums {name!r}; see `refruntime orders --list`")
        if shape == "lanes":
            tail = tail or "tail in lanes"
        if shape in ("lanes", "groups"):
            reduction = reduction or "in order"
            whole = count % 4 == 0 if reduction.startswith("fours") else count & (count - 1) == 0
            if reduction not in ("in order", "backwards") and not whole:
                raise ValueError(f"{count} partial sums cannot be reduced by {reduction!r}")
        parts = [words[0], tail, reduction, "" if rounding == "float32" else rounding]
        return cls(", ".join(part for part in parts if part), shape, count, tail, reduction, rounding)

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    def total(self, left: Array, right: Array | None = None) -> NDArray[np.float32]:
        """Add the products of two float32 arrays [n, ...] that broadcast, or the terms [n, ...]: -> [...]."""
        rounding = ROUNDINGS[self.rounding]
        result = self._total(rounding.terms(left, right), rounding)
        return np.asarray(result, np.float32)

    def _total(self, terms: Array, rounding: Rounding) -> Array:
        run = rounding.run
        if not len(terms):
            return run(terms)
        if self.shape == "lanes":
            return lanes(terms, self.count, self.tail, self.reduction, run)
        if self.shape == "sequential":
            return run(terms)
        if self.shape == "reversed":
            return run(terms[::-1])
        if self.shape == "halving":
            return halving(rounding.single(terms))
        if self.shape == "groups":
            return groups(terms, self.count, self.reduction, rounding)
        if self.shape == "blocks":
            return joined([run(terms[at : at + self.count]) for at in range(0, len(terms), self.count)], "in order")
        if self.shape == "parts":
            edges = [len(terms) * part // self.count for part in range(self.count + 1)]
            return joined([run(terms[a:b]) for a, b in itertools.pairwise(edges)], "in order")
        if self.shape == "NumPy":
            return numpy_order(terms, run)
        return pairwise(terms, run, max(1, self.count), self.shape == "powers")


def _read_shape(text: str) -> tuple[str, int]:
    for pattern, shape in _SHAPES:
        match = re.fullmatch(pattern, text)
        if match:
            count = int(match[1]) if match.groups() else 0
            if match.groups() and not 2 <= count <= MOST_COUNT:
                break
            return shape, count
    raise ValueError(f"unknown order of sums {text!r}; see `refruntime orders --list`")


SEQUENTIAL: Final = SumOrder.read("sequential")

# All of them ---------------------------------------------------------------------------------------------------------


_PLAIN: Final = ("in order", "neighbours", "halves")
_SAME: Final = (("neighbours", "neighbours"), ("halves", "halves"))  # what they give has a shorter name


@cache
def sum_orders() -> tuple[SumOrder, ...]:
    """Return every order that is tried, the simple ones first."""
    return tuple(dict.fromkeys(SumOrder.read(name) for name in _names()))


def _names() -> Iterator[str]:
    in_lanes = list(_lane_names())
    others = [
        "reversed",
        *(f"pairwise{leaf}" for leaf in ("", *(f" of {2**n}" for n in range(1, 8)))),
        *(f"pairwise by powers of two{leaf}" for leaf in ("", *(f" of {2**n}" for n in range(2, 8)))),
        *(f"blocks of {2**n}" for n in range(2, 9)),
        *(f"{count} parts" for count in (2, 4, 8)),
        "halving",
        "NumPy",
    ]
    yield "sequential"
    for rounding in ("float64", "float64 sum", "fused", "fused in float64"):
        yield f"sequential, {rounding}"
    yield from others
    yield from in_lanes
    yield from (f"groups of {count}, {how}" for count, how in itertools.product((2, 4, 8, 16), _PLAIN))
    for name in (*in_lanes, *(other for other in others if other != "halving")):
        yield f"{name}, fused"
    for rounding in ("float64", "float64 sum"):
        yield f"reversed, {rounding}"
        yield from (f"{count} lanes, tail after, halves, {rounding}" for count in (2, 4, 8))


def _lane_names() -> Iterator[str]:
    for count in (4, 8, 16, 2, 32):
        reductions = list(_PLAIN)
        if count == 2:
            reductions = ["in order"]
        if count >= 8:
            pairs = [pair for pair in itertools.product(_PLAIN, _PLAIN) if pair not in _SAME]
            reductions += [f"fours {first} then {second}" for first, second in pairs]
        if count in (4, 8):
            reductions.append("backwards")
        for tail, reduction in itertools.product(TAILS, reductions):
            if tail == "tail before" and reduction != "in order":
                continue
            if tail == "tail by fours" and count < 8:
                continue
            yield f"{count} lanes, {tail}, {reduction}"
