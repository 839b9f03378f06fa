"""Recognise changes of numbers that are exact: each takes found and expected [rows, n] and the differing elements."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.witness.expected import Float32
from refruntime.witness.locate import bits

Mask = NDArray[np.bool_]

MOST_UNITS: Final = 16
LEAST_FOR_UNITS: Final = 8
LEAST_CUT: Final = 4
LEAST_COARSE: Final = 8
LEAST_DIFFERENT: Final = 8
"""Fewer numbers may be round for another reason, such as ones that were left there."""

LEAST_ZEROS: Final = 40
"""So many bits that are zero in all numbers together are no accident."""


def not_finite(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise numbers that are not finite where they should be."""
    bad = ~np.isfinite(found) & np.isfinite(expected)
    if not bad.any():
        return ""
    what = "NaN" if np.isnan(found[bad]).all() else "not finite"
    first = int(np.flatnonzero(bad.reshape(-1))[0])
    return f"differ: {int(bad.sum())} are {what} from element {first} on"


def zeros(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise zeros."""
    return "zero" if not found[differing].any() else ""


def sign(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise another sign."""
    return "with the other sign" if np.array_equal(found[differing], -expected[differing]) else ""


def rounded(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise a rounding to fewer bits, of the numbers that differ."""
    held, right = found[differing], expected[differing]
    x, t = bits(held), bits(right)
    with np.errstate(all="ignore"):
        half = right.astype(np.float16)
        if np.array_equal(half.astype(np.float32), held):
            return "rounded to f16"
        if np.array_equal(np.where(np.abs(half) > np.abs(right), np.nextafter(half, np.float16(0)), half), held):
            return "cut to f16"
    trailing = _common_zero_bits(x)
    if trailing < LEAST_CUT or trailing * len(x) < LEAST_ZEROS:
        return ""
    kept = 23 - trailing
    name = "bf16" if kept == 7 else f"{kept} fraction bits"
    shift, one = np.uint32(trailing), np.uint32(1)
    middle = np.uint32(1 << (trailing - 1))
    cut = (t >> shift) << shift
    even = ((t + middle - one + ((t >> shift) & one)) >> shift) << shift
    if np.array_equal(even, x):
        return f"rounded to {name}"
    if np.array_equal(cut, x):
        return f"cut to {name}"
    away = ((t + middle) >> shift) << shift
    return f"rounded to {name}" if np.array_equal(away, x) else ""


def coarse(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise numbers that all have fewer bits, but are not those next to the right ones: rounded on the way, too."""
    held, right = found[differing], expected[differing]
    trailing = _common_zero_bits(bits(held))
    few = trailing >= LEAST_COARSE and len(np.unique(np.abs(held))) >= LEAST_DIFFERENT
    if not few or _common_zero_bits(bits(right)) >= trailing or not np.isfinite(held).all():
        return ""
    with np.errstate(all="ignore"):
        units = np.abs(held.astype(np.float64) - right) / (np.spacing(np.abs(right).max()) * 2.0**trailing)
        if not units.max() <= MOST_UNITS:
            return ""
        half = np.array_equal(held.astype(np.float16).astype(np.float32), held)
    name = "bf16" if trailing >= 16 else "f16" if half else f"{23 - trailing} fraction bits"
    return f"are numbers of {name}, though not the nearest: their sums were rounded on the way, too, to {name}"


def multiples(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise multiples of one power of two, of the numbers that differ, none further off than that."""
    held, right = found[differing].astype(np.float64), expected[differing].astype(np.float64)
    if not np.isfinite(held).all() or len(np.unique(np.abs(held))) < LEAST_DIFFERENT:
        return ""
    mantissa, exponent = np.frexp(held[held != 0])
    whole = np.abs(mantissa * 2.0**24).astype(np.int64)
    lowest = np.log2((whole & -whole).astype(np.float64)).astype(np.int64) + exponent - 24
    step = int(lowest.min())
    spared = int(np.maximum(0, step - (exponent - 24)).sum())  # bits of float32 that none of them uses
    if spared < LEAST_ZEROS or spared < LEAST_CUT * len(held) or not (np.abs(held - right) <= 2.0**step).all():
        return ""
    return f"rounded to multiples of 2^{step}"


def _common_zero_bits(words: NDArray[np.uint32]) -> int:
    joined = int(np.bitwise_or.reduce(words.reshape(-1), initial=0))
    return 23 if joined == 0 else min(23, (joined & -joined).bit_length() - 1)


def permutation(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise another order, of the rows that differ."""
    rows = differing.any(axis=1)
    found, expected, differing = found[rows], expected[rows], differing[rows]
    x, t = bits(found), bits(expected)
    if int(differing.sum()) < 2 or not np.array_equal(np.sort(x.reshape(-1)), np.sort(t.reshape(-1))):
        return _shifted(x, t)
    for name, order in _orders(found.shape[1]).items():
        if np.array_equal(x, t[:, order]):
            return name
    flat_x, flat_t = x.reshape(-1), t.reshape(-1)
    for size in (size for size in range(found.size, 3, -1) if found.size % size == 0):
        for name, order in _orders(size).items():
            if np.array_equal(flat_x.reshape(-1, size), flat_t.reshape(-1, size)[:, order]):
                return name if size == found.size else f"{name}, in each {size} of them"
    if len(found) > 1 and np.array_equal(x.reshape(found.shape[::-1]).T, t):
        return "transposed"
    if len(found) > 1 and np.array_equal(x, t[::-1]):
        return "in reversed order of heads"
    if len(found) > 1 and sorted(map(bytes, x)) == sorted(map(bytes, t)):
        return "in another order of heads"
    return "in another order"


def _orders(size: int) -> dict[str, NDArray[np.int64]]:
    places = np.arange(size)
    orders = {
        "reversed": places[::-1],
        "shifted by one": np.roll(places, 1),
        "shifted by one back": np.roll(places, -1),
    }
    if size % 2 == 0:
        orders["with halves exchanged"] = np.roll(places, size // 2)
        orders["with pairs exchanged"] = places ^ 1
        orders["with halves woven"] = places.reshape(2, -1).T.reshape(-1)
        orders["with pairs unwoven"] = places.reshape(-1, 2).T.reshape(-1)
    return orders


def _shifted(x: NDArray[np.uint32], t: NDArray[np.uint32]) -> str:
    """Say whether elements stand one place, or one row, beside their own, with others coming in at the end."""
    flat_x, flat_t = x.reshape(-1), t.reshape(-1)
    if len(flat_x) < 4:
        return ""
    for name, mine, theirs in (
        ("shifted by one", flat_x[1:], flat_t[:-1]),
        ("shifted by one back", flat_x[:-1], flat_t[1:]),
    ):
        if np.array_equal(mine, theirs):
            return name
    if len(x) > 1:
        for name, rows, others in (("of the head before", x[1:], t[:-1]), ("of the head after", x[:-1], t[1:])):
            if np.array_equal(rows, others):
                return name
    return ""


def neighbours(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise elements that repeat those before or after them."""
    x, t = bits(found), bits(expected)
    for side, mine, theirs, wrong in (
        ("before", x[:, 1:], t[:, :-1], differing[:, 1:]),
        ("after", x[:, :-1], t[:, 1:], differing[:, :-1]),
    ):
        if wrong.sum() == differing.sum() and (mine[wrong] == theirs[wrong]).all():
            return f"equal to the right one {side}"
    return ""


def moved(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise elements that are the right ones some places before or behind, each row by a distance of its own."""
    x, t = bits(found), bits(expected).reshape(-1)
    size = x.shape[1]
    distances: dict[int, int] = {}
    for row in np.flatnonzero(differing.any(axis=1)).tolist():
        columns = np.flatnonzero(differing[row])
        places = row * size + columns
        wanted = x[row, columns]
        fits = [
            int(at) - int(places[0])
            for at in np.flatnonzero(t == wanted[0])
            if 0 <= at - places[0] + places[-1] < t.size and np.array_equal(t[places + (at - places[0])], wanted)
        ]
        fits = fits or _within_row(x[row], t[row * size : (row + 1) * size], columns)
        if not fits or not wanted.any():
            return ""
        distances[row] = min(fits, key=abs)
    if int(differing.sum()) < max(2, 2 * len(distances)) or 0 in distances.values():
        return ""
    if len(set(distances.values())) == 1:
        return f"equal to the right ones {_places(next(iter(distances.values())))}"
    shown = ", ".join(f"head {row} {_places(far)}" for row, far in list(distances.items())[:4])
    return f"equal to the right ones of other places: {shown}"


def _within_row(x: NDArray[np.uint32], t: NDArray[np.uint32], columns: NDArray[np.intp]) -> list[int]:
    """Return the distances by which a row is displaced in itself, with others coming in at one end."""
    fits = []
    for distance in (sign * places for places in range(1, len(x) // 4 + 1) for sign in (-1, 1)):
        inside = columns[(columns + distance >= 0) & (columns + distance < len(x))]
        if 2 * len(inside) > len(columns) and np.array_equal(x[inside], t[inside + distance]):
            fits.append(distance)
    return fits


def _places(distance: int) -> str:
    return f"{abs(distance)} {'before' if distance < 0 else 'after'}"


def clipped(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise a limit."""
    limits = np.unique(np.abs(found[differing]))
    if len(limits) != 1 or not (np.abs(expected[differing]) > limits[0]).all():
        return ""
    return f"clipped at {limits[0]:g}" if (np.abs(expected[~differing]) <= limits[0]).all() else ""


def few_units(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise a factor that is but a few units in the last place from 1, by the bits of every element."""
    if int(differing.sum()) < LEAST_FOR_UNITS:
        return ""
    for units in (sign * count for count in range(1, MOST_UNITS + 1) for sign in (1, -1)):
        with np.errstate(all="ignore"):
            made = expected * np.float32(1 + units * 2.0**-23)
        if np.array_equal(bits(made), bits(found)):
            return f"times 1 {'+' if units > 0 else '-'} {abs(units)} * 2^-23, bit by bit"
    return ""
