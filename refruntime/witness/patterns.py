"""Say what is wrong with numbers: which elements differ, and the simplest change that makes them of the right ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.witness import exact_patterns as exact
from refruntime.witness import fitted_patterns as fitted
from refruntime.witness import formulas
from refruntime.witness.attended import by_operands
from refruntime.witness.expected import Float32
from refruntime.witness.fitted_patterns import largest_difference
from refruntime.witness.formulas import DIVIDED
from refruntime.witness.locate import bits


def elements_text(chosen: Mask) -> str:
    """Describe the chosen elements of an array [rows, n]; several rows are heads."""
    rows, size = chosen.shape
    count = int(chosen.sum())
    if rows == 1:
        return _of_row(chosen[0], "", "elements")
    whole = np.flatnonzero(chosen.all(axis=1))
    touched = np.flatnonzero(chosen.any(axis=1))
    if len(whole) == rows:
        return f"all {size} of head 0 and the others"
    if len(touched) == 1:
        return _of_row(chosen[touched[0]], f" of head {touched[0]}", "elements")
    if len(whole) == len(touched):
        return f"all {size} of heads {_listed(touched)}"
    same = chosen[touched]
    if (same == same[0]).all():
        heads = "every head" if len(touched) == rows else f"heads {_listed(touched)}"
        return _of_row(same[0], f" of {heads}", "elements")
    first = np.unravel_index(int(np.flatnonzero(chosen.reshape(-1))[0]), chosen.shape)
    return f"{count} of {chosen.size} elements, the first in head {first[0]} at {first[1]},"


def _of_row(chosen: Mask, owner: str, noun: str) -> str:
    places = np.flatnonzero(chosen)
    if len(places) == len(chosen):
        return f"all {len(chosen)}{owner}"
    if len(places) == 1:
        return f"element {places[0]}{owner}"
    if len(places) and places[-1] - places[0] + 1 == len(places):
        return f"{noun} {places[0]} .. {places[-1]}{owner}"
    steps = np.diff(places)
    if len(places) > 2 and (steps == steps[0]).all():
        return f"every element {places[0]} + {steps[0]} i{owner}, {len(places)} of {len(chosen)},"
    return f"{len(places)} of {len(chosen)} {noun}{owner}, the first at {places[0] if len(places) else '-'},"


def _listed(places: NDArray[np.int64]) -> str:
    shown = ", ".join(map(str, places[:6].tolist()))
    return shown + (", ..." if len(places) > 6 else "")


Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Pattern:
    """`kind` in few words, a sentence that says which elements differ and how, `where`: how many of them in a word."""

    kind: str
    text: str
    differing: Mask | None = None
    where: str = "all"

    @property
    def of_other_weights(self) -> bool:
        """Say whether other weights of the model than its own make the numbers."""
        return self.kind == FACTORS and DIVIDED + WEIGHTS in self.text


def find_pattern(
    found: Float32,
    expected: Float32,
    known: Mapping[str, Float32] | None = None,
    name: str = "",
    siblings: Collection[str] = (),
    before: Collection[str] = (),
) -> Pattern:
    """Compare what a build holds with what it should, both [rows, n]; `known` are arrays that it may hold instead.

    What is equal to an array of another position, or of another layer than that of `name`, is stale; so is a part that
    was left as one of those was that lay in its place, `before`. One of the `siblings` is computed from the same.
    """
    differing = bits(found) != bits(expected)
    kind, text = _kind_and_text(found, expected, differing, known or {}, name)
    other = text.removeprefix("equal to ")
    if kind == COPY and other in siblings:
        kind, text = "swapped operands", f"{text}, which is computed from the same"
    elif kind == COPY and other in before and not differing.all():
        kind, text = STALE, f"left as they were in {other}"
    return Pattern(kind, f"{elements_text(differing)} {text}", differing, where_of(differing))


def _kind_and_text(
    found: Float32, expected: Float32, differing: Mask, known: Mapping[str, Float32], own: str
) -> tuple[str, str]:
    layer = layer_of(own)
    met = by_operands(found, expected, known, own)  # two heads exchanged are halves exchanged, too
    if met is not None:
        return met
    for kind, finder in _EXACT:
        text = finder(found, expected, differing)
        if text:
            return _rounding_kind(text) if kind == ROUNDED else kind, text
        if kind == ZEROS:  # before anything else that takes few numbers, but behind what is not a number at all
            for name, values in known.items():
                if _holds(found, values, differing):
                    old = name.startswith("what ") or (layer and layer_of(name) not in ("", layer))
                    return STALE if old else COPY, f"equal to {name}"
    for kind, finder in _FITTED:
        text = finder(found, expected, differing)
        if text:
            return kind, text
    return _by_known(found, expected, differing, known, own) or (OTHER, _without_pattern(found, expected, known))


def _by_known(
    found: Float32, expected: Float32, differing: Mask, known: Mapping[str, Float32], own: str
) -> tuple[str, str] | None:
    """Return how known arrays, or a function of one, make the found numbers of the right ones; None if they do not."""
    layer = layer_of(own)
    for name, values in known.items():
        made = fitted.by_vector(found, expected, values)
        if made is not None and made[1] == "plus" and layer and _kind(name) == _kind(own):
            return STALE, f"plus {name}, which was not cleared"
        if made is not None:
            return SCALE if name.startswith(SCALES) else made[0], f"{made[1]} {name}"
    beside = {name: values for name, values in known.items() if layer and layer_of(name) == layer}
    exchanged = formulas.exchanged_gate(found, expected, differing, beside)
    if exchanged is not None:
        return exchanged
    if differing.all():
        function = fitted.by_function(found, expected, beside)
        if function is not None:
            return function
    text = formulas.by_ratio(found, expected, {name: v for name, v in known.items() if name.startswith(WEIGHTS)})
    if text:
        return FACTORS, text
    scales = {name.removeprefix(SCALES): v for name, v in known.items() if name.startswith(SCALES)}
    text = formulas.other_scales(found, expected, differing, scales, own)
    return (SCALE, text) if text else None


def _without_pattern(found: Float32, expected: Float32, known: Mapping[str, Float32]) -> str:
    """Return the sentence about numbers of no pattern, which may be a sum of known ones all the same."""
    part = fitted.by_part(found, expected, known)
    return part or f"differ, by {largest_difference(found, expected):.2g} of the largest number"


def where_of(differing: Mask) -> str:
    """Return in a word how many elements of [rows, n] are meant."""
    rows = np.asarray(differing.any(axis=1))
    columns = np.flatnonzero(differing.any(axis=0))
    if len(columns) == 1 and (rows.all() or int(differing.sum()) == 1):
        return "one element only"  # of each head
    if len(rows) > 1 and int(rows.sum()) == 1:
        return "one head only"
    return "all" if differing.all() else "some"


def _rounding_kind(text: str) -> str:
    return next((f"rounded to {name}" for name in ("f16", "bf16") if text.endswith(" " + name)), "rounded to n bits")


def layer_of(name: str) -> str:
    """Return the layer that a name tells, `blk.1` of `blk.1.attn_q`; empty without one."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "blk" and len(parts) > 2 else ""


def _kind(name: str) -> str:
    return name.removeprefix(layer_of(name) + ".")


def _holds(found: Float32, values: Float32, differing: Mask) -> bool:
    if values.size != found.size:
        return False
    same = bits(values.reshape(found.shape)) == bits(found)
    return bool(same[differing].all()) and int(differing.sum()) > 1


WEIGHTS: Final = "the weights of "
SCALES: Final = "the scales of "

Finder = Callable[[Float32, Float32, Mask], str]

COPY: Final = "copy"
STALE: Final = "stale"
ZEROS: Final = "zeros"
ROUNDED: Final = "rounded"
SCALE: Final = "another scale"
FACTORS: Final = "factor per element"
OTHER: Final = "other"

_EXACT: Final[tuple[tuple[str, Finder], ...]] = (
    ("NaN from here on", exact.not_finite),
    (ZEROS, exact.zeros),
    ("sign", exact.sign),
    (ROUNDED, exact.rounded),
    (ROUNDED, exact.multiples),
    (ROUNDED, exact.coarse),
    ("permutation", exact.permutation),
    ("permutation", exact.neighbours),
    ("permutation", exact.moved),
    ("clipped", exact.clipped),
    ("constant factor", exact.few_units),
)

_FITTED: Final[tuple[tuple[str, Finder], ...]] = (
    ("constant factor", fitted.by_head),
    (SCALE, fitted.scales),
    ("constant factor", fitted.factor),
    ("constant offset", fitted.offset),
    ("constant offset", fitted.offsets),
    ("constant offset per element", fitted.offset_per_column),
    ("rotation", fitted.turned_alike),
    ("rounding", fitted.rounding),
    ("rotation", fitted.turned),
    (FACTORS, formulas.soft_cap),
    (FACTORS, fitted.power),
    (FACTORS, fitted.per_column),
    ("rounded to n bits", formulas.in_steps),
)
"""In this order: what is exact before what only fits."""
