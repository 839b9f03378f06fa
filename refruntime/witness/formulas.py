"""Recognise numbers that another formula makes of the right ones: found, expected [rows, n] and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.witness.expected import Float32

Mask = NDArray[np.bool_]

DIVIDED: Final = ", divided by "
"""What stands between the two vectors of a ratio."""

LEAST: Final = 6
LEAST_SCALES: Final = 4
LEVELS: Final = (127, 128, 7, 8, 15, 31, 63, 255)
"""Steps of the largest number of a row that quantised values are multiples of."""

MOST_LEVELS_OFF: Final = 1e-3
CLOSE: Final = 2e-6
SAME: Final = 1e-4
DISTINCT: Final = 1e-5
LARGEST_CAP: Final = 1e6


def in_steps(found: Float32, expected: Float32, differing: Mask) -> str:
    """Say whether the numbers of each row are the right ones rounded to multiples of a part of its largest.

    What is nearest to 0 times the part has to be 0: numbers that are merely small are rounded by nobody.
    """
    x, t = found.astype(np.float64), expected.astype(np.float64)
    if x.shape[1] < LEAST or not np.isfinite(x).all() or not differing.any(axis=1).all():
        return ""
    largest = np.abs(x).max(axis=1, keepdims=True)
    if not largest.all():
        return ""
    for levels in LEVELS:
        step = largest / levels
        whole = x / step
        near = np.where(np.rint(whole) == 0, x == 0, np.abs(whole - np.rint(whole)) < MOST_LEVELS_OFF)
        kept = np.abs(x - t) <= step * (0.5 + 1e-2)
        if near.all() and kept.all():
            return f"rounded to multiples of 1/{levels} of the largest of {'each head' if len(x) > 1 else 'them'}"
    return ""


def soft_cap(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise `c tanh(x / c)`, which no element but zeros leaves as it is."""
    x, t = found.astype(np.float64).reshape(-1), expected.astype(np.float64).reshape(-1)
    if len(t) < LEAST or not np.isfinite(x).all():
        return ""
    at = int(np.argmax(np.abs(t)))
    if not 0 < abs(x[at]) < abs(t[at]) * (1 - DISTINCT) or x[at] * t[at] < 0:
        return ""
    low, high = abs(x[at]), LARGEST_CAP * abs(t[at])
    for _ in range(200):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if middle * np.tanh(abs(t[at]) / middle) < abs(x[at]) else (low, middle)
    cap = np.sqrt(low * high)
    if np.allclose(cap * np.tanh(t / cap), x, rtol=CLOSE, atol=1e-12):
        return f"{cap:.5g} tanh(x / {cap:.5g}): under a soft cap"
    return ""


def exchanged_gate(
    found: Float32, expected: Float32, differing: Mask, arrays: Mapping[str, Float32]
) -> tuple[str, str] | None:
    """Return which two arrays of `silu(one) * other` changed places in what differs; None if none did."""
    x, t = (values.astype(np.float64).reshape(-1) for values in (found, expected))
    sized = {name: values.astype(np.float64).reshape(-1) for name, values in arrays.items() if values.size == x.size}
    wrong, room = differing.reshape(-1), 1e-6 * float(np.abs(t).max())
    with np.errstate(all="ignore"):
        for (one, gate), (other, up) in permutations(sized.items(), 2):
            right, exchanged = gate / (1 + np.exp(-gate)) * up, up / (1 + np.exp(-up)) * gate
            if np.allclose(right, t, rtol=SAME, atol=room) and np.allclose(exchanged[wrong], x[wrong], SAME, room):
                return "swapped operands", f"silu of {other} times {one}, not silu of {one} times {other}"
    return None


def other_scales(found: Float32, expected: Float32, differing: Mask, scales: Mapping[str, Float32], own: str) -> str:
    """Say which scales rows of a matrix have instead of their own: none, those beside theirs, those of another one."""
    if own not in scales or scales[own].size != found.size or int(differing.sum()) < LEAST_SCALES:
        return ""
    wrong, right = differing.reshape(-1), scales[own].astype(np.float64)
    x, t = found.astype(np.float64).reshape(-1), expected.astype(np.float64).reshape(-1)
    candidates = {
        "without their scales": np.ones_like(right),
        "with the scales of the rows before": np.roll(right, 1),
        "with the scales of the rows behind": np.roll(right, -1),
        "with the scale of row 0": np.full_like(right, right[0]),
        **{f"with the scales of {n}": s.astype(np.float64) for n, s in scales.items() if s.size == x.size and n != own},
    }
    with np.errstate(all="ignore"):
        for text, held in candidates.items():
            made = (t * held / right)[wrong]
            if np.allclose(x[wrong], made, rtol=CLOSE, atol=CLOSE * float(np.abs(made).max())):
                return text
    return ""


def by_ratio(found: Float32, expected: Float32, vectors: Mapping[str, Float32]) -> str:
    """Say which two known vectors make the found numbers of the right ones: times one, divided by the other."""
    x, t = (values.astype(np.float64).reshape(-1) for values in (found, expected))
    sized = {name: vector.astype(np.float64).reshape(-1) for name, vector in vectors.items() if vector.size == x.size}
    size = float(np.abs(x).max())
    for (one, a), (other, b) in permutations(sized.items(), 2):
        with np.errstate(all="ignore"):
            if np.allclose(x * b, t * a, rtol=1e-6, atol=1e-6 * size * float(np.abs(b).max())):
                return f"times {one}{DIVIDED}{other}"
    return ""
