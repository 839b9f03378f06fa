"""Say in words which elements of an array are meant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


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
