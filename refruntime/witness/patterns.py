"""Say what is wrong with numbers: which elements differ, and the simplest change that makes them of the right ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.witness.elements import elements_text
from refruntime.witness.expected import Float32
from refruntime.witness.locate import bits

Mask = NDArray[np.bool_]

FEW_ULPS: Final = 4
SMALL_DIFFERENCE: Final = 2e-5
"""Differences up to this part of the largest number are of the size of another order of additions."""

LEAST_FOR_RATIO: Final = 2
BLOCK: Final = 32


@dataclass(frozen=True)
class Pattern:
    """`kind` in few words, and a sentence that says which elements differ and how."""

    kind: str
    text: str
    differing: Mask | None = None


def find_pattern(found: Float32, expected: Float32, known: Mapping[str, Float32] | None = None) -> Pattern:
    """Compare what a build holds with what it should, both [rows, n]; `known` are arrays that it may hold instead."""
    differing = bits(found) != bits(expected)
    where = elements_text(differing)
    for kind, finder in _FINDERS:
        text = finder(found, expected, differing)
        if text:
            return Pattern(kind, f"{where} {text}", differing)
        if kind == "zeros":  # before anything else that takes few numbers, but behind what is not a number at all
            for name, values in (known or {}).items():
                if _holds(found, values, differing):
                    kind = "stale" if name.startswith("what ") else "copy"
                    return Pattern(kind, f"{where} equal to {name}", differing)
    return Pattern("other", f"{where} differ, by {_relative(found, expected):.2g} of the largest number", differing)


def _holds(found: Float32, values: Float32, differing: Mask) -> bool:
    if values.size != found.size:
        return False
    same = bits(values.reshape(found.shape)) == bits(found)
    return bool(same[differing].all()) and int(differing.sum()) > 1


def _relative(found: Float32, expected: Float32) -> float:
    """Return the largest difference as part of the largest expected number."""
    with np.errstate(all="ignore"):
        difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
        return float(np.nanmax(difference) / max(float(np.nanmax(np.abs(expected))), 1e-300))


def _not_finite(found: Float32, expected: Float32, differing: Mask) -> str:
    bad = ~np.isfinite(found) & np.isfinite(expected)
    if not bad.any():
        return ""
    what = "NaN" if np.isnan(found[bad]).all() else "not finite"
    first = int(np.flatnonzero(bad.reshape(-1))[0])
    return f"differ: {int(bad.sum())} are {what} from element {first} on"


def _zeros(found: Float32, expected: Float32, differing: Mask) -> str:
    return "zero" if not found[differing].any() else ""


def _sign(found: Float32, expected: Float32, differing: Mask) -> str:
    return "with the other sign" if np.array_equal(found[differing], -expected[differing]) else ""


def _rounded(found: Float32, expected: Float32, differing: Mask) -> str:
    x, t = bits(found)[differing], bits(expected)[differing]
    with np.errstate(all="ignore"):
        if np.array_equal(expected.astype(np.float16).astype(np.float32)[differing], found[differing]):
            return "rounded to f16"
    trailing = _common_zero_bits(bits(found))
    if trailing < 4:
        return ""
    kept = 23 - trailing
    name = "bf16" if kept == 7 else f"{kept} fraction bits"
    shift, one = np.uint32(trailing), np.uint32(1)
    half = np.uint32(1 << (trailing - 1))
    cut = (t >> shift) << shift
    even = ((t + half - one + ((t >> shift) & one)) >> shift) << shift
    if np.array_equal(even, x):
        return f"rounded to {name}"
    if np.array_equal(cut, x):
        return f"cut to {name}"
    away = ((t + half) >> shift) << shift
    return f"rounded to {name}" if np.array_equal(away, x) else ""


def _common_zero_bits(words: NDArray[np.uint32]) -> int:
    joined = int(np.bitwise_or.reduce(words.reshape(-1), initial=0))
    return 23 if joined == 0 else min(23, (joined & -joined).bit_length() - 1)


def _permutation(found: Float32, expected: Float32, differing: Mask) -> str:
    x, t = bits(found), bits(expected)
    if int(differing.sum()) < 2 or not np.array_equal(np.sort(x.reshape(-1)), np.sort(t.reshape(-1))):
        return _shifted(x, t)
    for name, order in _orders(found.shape[1]).items():
        if np.array_equal(x, t[:, order]):
            return name
    flat_x, flat_t = x.reshape(-1), t.reshape(-1)
    for name, order in _orders(found.size).items():
        if np.array_equal(flat_x, flat_t[order]):
            return name
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


def _factor(found: Float32, expected: Float32, differing: Mask) -> str:
    ratio, ulps = _fit_factor(found[differing], expected[differing])
    if ratio is None:
        return ""
    return f"times {np.float32(ratio):.7f} (+- {ulps} ulp)"


def _fit_factor(found: Float32, expected: Float32) -> tuple[float | None, int]:
    """Return the factor that explains numbers to a few ulps, None if there is none."""
    x, t = found.astype(np.float64), expected.astype(np.float64)
    usable = np.isfinite(x) & np.isfinite(t) & (np.abs(t) > 1e-30)
    if usable.sum() < LEAST_FOR_RATIO or len(np.unique(t[usable])) < LEAST_FOR_RATIO:
        return None, 0
    x_usable, t_usable = x[usable], t[usable]
    ratio = float(np.median(x_usable / t_usable))
    if len(t_usable) > 3:
        ratio = float((x_usable @ t_usable) / (t_usable @ t_usable))
    if abs(ratio - 1.0) < 3e-7 or not 1e-6 < abs(ratio) < 1e9:
        return None, 0
    with np.errstate(all="ignore"):
        unit = np.spacing(np.maximum(np.abs(found), np.abs((ratio * t).astype(np.float32)))).astype(np.float64)
        errors = np.abs(x - ratio * t) / unit
    worst = float(np.max(errors))
    # A factor must explain far more than it leaves.
    explained = np.abs(x - t)[usable] / np.maximum(np.abs(x - ratio * t)[usable], unit[usable])
    if worst <= FEW_ULPS or (worst <= 64 and float(np.median(explained)) > 30):
        return ratio, max(1, int(np.ceil(worst)))
    return None, 0


def _scales(found: Float32, expected: Float32, differing: Mask) -> str:
    """Say whether each row, or each block of 32, has a factor of its own."""
    for name, shape in (("head", found.shape), ("block of 32", (-1, BLOCK))):
        if found.size % abs(shape[-1]) or found.size // shape[-1] < 2:
            continue
        pieces = zip(found.reshape(shape), expected.reshape(shape), differing.reshape(shape), strict=True)
        fits: list[float] = []
        for x, t, wrong in pieces:
            if not wrong.any():
                continue
            ratio, _ = _fit_factor(x[wrong], t[wrong])
            if ratio is None:
                fits = []
                break
            fits.append(ratio)
        if len(fits) > 1:
            return f"times a factor for each {name}: {', '.join(f'{ratio:.6g}' for ratio in fits[:4])}" + (
                ", ..." if len(fits) > 4 else ""
            )
    return ""


def _offset(found: Float32, expected: Float32, differing: Mask) -> str:
    if int(differing.sum()) < LEAST_FOR_RATIO:
        return ""
    with np.errstate(all="ignore"):
        x, t = found[differing].astype(np.float64), expected[differing].astype(np.float64)
        offset = float(np.median(x - t))
        unit = np.spacing(np.maximum(np.abs(found), np.abs(expected))[differing].max()).astype(np.float64)
        worst = float(np.max(np.abs(x - t - offset))) / unit
    if not worst <= FEW_ULPS or abs(offset) < 8 * unit:
        return ""
    return f"plus {offset:.7g} (+- {max(1, int(np.ceil(worst)))} ulp of the largest)"


def _rounding(found: Float32, expected: Float32, differing: Mask) -> str:
    relative = _relative(found, expected)
    if not relative <= SMALL_DIFFERENCE:
        return ""
    return f"differ by at most {relative:.1g} of the largest number: the size of another order of additions"


Finder = Callable[[Float32, Float32, Mask], str]

_FINDERS: Final[tuple[tuple[str, Finder], ...]] = (
    ("NaN", _not_finite),
    ("zeros", _zeros),
    ("sign", _sign),
    ("rounded", _rounded),
    ("permutation", _permutation),
    ("constant factor", _factor),
    ("constant offset", _offset),
    ("another scale", _scales),
    ("order of additions", _rounding),
)
"""In this order: what is exact before what only fits."""

KINDS: Final = (*(kind for kind, _ in _FINDERS), "stale", "copy", "other")

Known = Mapping[str, Any]
