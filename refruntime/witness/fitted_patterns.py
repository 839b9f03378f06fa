"""Recognise changes of numbers that hold up to roundings: as `exact_patterns`, an empty text says that one does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.witness.expected import Float32

Mask = NDArray[np.bool_]

FEW_ULPS: Final = 4
SMALL_SUMS: Final = 8
"""A sum so many times smaller than the largest is as exact as that, where products cancel each other."""
SMALL_DIFFERENCE: Final = 2e-5
"""Differences up to this part of the largest number are of the size of another order of additions."""

LEAST_FOR_RATIO: Final = 2
LEAST_FOR_FUNCTION: Final = 48
MOST_TURNS: Final = 6
"""Ranks of n factors that follow a vector change by so many times n in all, at most; those of others by n * n / 3."""

LEAST_FOR_PART: Final = 8
PART_EXPLAINS: Final = 1e-2
LEAST_OFFSET: Final = 8
LEAST_FOR_POWER: Final = 3
POWER_LEAVES: Final = 2e-6
LEAST_TURN: Final = 1e-6
"""Radians; float32 itself turns a pair by up to 1e-7."""

TURNS_AGREE: Final = 0.2
BLOCK: Final = 32


def largest_difference(found: Float32, expected: Float32) -> float:
    """Return the largest difference as part of the largest expected number."""
    with np.errstate(all="ignore"):
        difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
        return float(np.nanmax(difference) / max(float(np.nanmax(np.abs(expected))), 1e-300))


def factor(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise one factor."""
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
        unit = np.maximum(unit, unit.max() / SMALL_SUMS)
        errors = np.abs(x - ratio * t) / unit
    worst = float(np.max(errors))
    # A factor must explain far more than it leaves.
    explained = np.abs(x - t)[usable] / np.maximum(np.abs(x - ratio * t)[usable], unit[usable])
    if worst <= FEW_ULPS or (worst <= 64 and float(np.median(explained)) > 30):
        return ratio, max(1, int(np.ceil(worst)))
    return None, 0


def scales(found: Float32, expected: Float32, differing: Mask) -> str:
    """Say whether each block of 32 has a factor of its own."""
    if len(found) == 1 and found.size % BLOCK == 0 and found.size > BLOCK:
        touched = np.flatnonzero(differing.reshape(-1, BLOCK).any(axis=1))
        ratio, _ = _fit_factor(found[differing], expected[differing])
        whole = (
            len(touched) == 1 and (differing.reshape(-1, BLOCK) | (expected == 0).reshape(-1, BLOCK))[touched[0]].all()
        )
        if ratio is not None and whole:
            return f"times {ratio:.7g}, which are block {touched[0]} of {BLOCK}"
    return _factors(found, expected, differing, "block of 32", (-1, BLOCK))


def by_head(found: Float32, expected: Float32, differing: Mask) -> str:
    """Say whether each head has a factor of its own."""
    return _factors(found, expected, differing, "head", found.shape)


def _factors(found: Float32, expected: Float32, differing: Mask, name: str, shape: tuple[int, ...]) -> str:
    if found.size % abs(shape[-1]) or found.size // shape[-1] < 2:
        return ""
    fits: list[float] = []
    for x, t, wrong in zip(found.reshape(shape), expected.reshape(shape), differing.reshape(shape), strict=True):
        if wrong.any():
            ratio, _ = _fit_factor(x[wrong], t[wrong])
            if ratio is None:
                return ""
            fits.append(ratio)
    if len(fits) < 2 or max(fits) - min(fits) <= 1e-5 * max(map(abs, fits)):
        return ""
    shown = ", ".join(f"{ratio:.6g}" for ratio in fits[:4]) + (", ..." if len(fits) > 4 else "")
    return f"times a factor for each {name}: {shown}"


def offset(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise one offset."""
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


def offsets(found: Float32, expected: Float32, differing: Mask) -> str:
    """Say whether each head has an offset of its own."""
    told = []
    for x, t, wrong in zip(found, expected, differing, strict=True):
        if wrong.any():
            told.append(offset(x[None], t[None], wrong[None]))
    if len(told) < 2 or not all(told):
        return ""
    shown = ", ".join(text.split()[1] for text in told[:4]) + (", ..." if len(told) > 4 else "")
    return f"plus an offset for each head: {shown}"


def offset_per_column(found: Float32, expected: Float32, differing: Mask) -> str:
    """Say whether every head has the same offsets, one for each of its elements, or ones that grow evenly in each."""
    rows, size = found.shape
    if rows < 2 or size < 3 or not np.isfinite(found).all():
        return ""
    difference = found.astype(np.float64) - expected.astype(np.float64)
    room = FEW_ULPS * float(np.spacing(np.maximum(np.abs(found), np.abs(expected)).max()))
    if not np.abs(difference).max() > LEAST_OFFSET * room:
        return ""
    if (np.abs(difference - difference[0]) <= room).all():
        shown = ", ".join(f"{x:.5g}" for x in difference[0][:4])
        return f"plus an offset for each element, the same in every head: {shown}, ..."
    step = (difference[:, -1:] - difference[:, :1]) / (size - 1)  # [rows, 1]
    even = difference[:, :1] + step * np.arange(size)
    if size > 3 and (np.abs(difference - even) <= room).all():
        shown = ", ".join(f"{x:.5g}" for x in step[:4, 0])
        return f"plus offsets that grow evenly from element to element, in each head by {shown}, ..."
    return ""


def power(found: Float32, expected: Float32, differing: Mask) -> str:
    """Say whether weights are the right ones to a power, but for a factor a head: those of scores times a factor."""
    x, t = found.astype(np.float64), expected.astype(np.float64)
    if x.shape[1] < 3 or not (np.isfinite(x).all() and (x > 0).all() and (t > 0).all()):
        return ""
    y, w = (np.log(values) - np.log(values).mean(axis=1, keepdims=True) for values in (x, t))
    degrees = x.size - len(x) - 1
    if degrees < LEAST_FOR_POWER or not (w * w).sum() > 0:
        return ""
    exponent = float((y * w).sum() / (w * w).sum())
    left, explained = float(np.abs(y - exponent * w).max()), float(np.abs(y - w).max())
    if left > POWER_LEAVES or left > PART_EXPLAINS * explained:
        return ""
    as_they_are = np.allclose(np.log(x), exponent * np.log(t), rtol=0, atol=POWER_LEAVES)
    how = "" if as_they_are else ", divided by their sum" if np.allclose(x.sum(axis=1), 1) else ", times a factor"
    return f"to the power {exponent:.6g}{how}: those of scores times {exponent:.6g}"


def rounding(found: Float32, expected: Float32, differing: Mask) -> str:
    """Recognise differences of the size of another order of additions."""
    relative = largest_difference(found, expected)
    if not relative <= SMALL_DIFFERENCE:
        return ""
    return f"differ by at most {relative:.1g} of the largest number: the size of another order of additions"


def turned(found: Float32, expected: Float32, differing: Mask) -> str:
    """Say whether pairs of numbers have kept their length, but not their direction."""
    size = found.shape[1]
    if size % 2 or size < 4:
        return ""
    x, t = found.astype(np.float64), expected.astype(np.float64)
    for name, order in (
        ("pairs", np.arange(size)),
        ("pairs of both halves", np.arange(size).reshape(2, -1).T.reshape(-1)),
    ):
        one, other = (values[:, order].reshape(len(x), -1, 2) for values in (x, t))
        lengths = np.linalg.norm(one, axis=2), np.linalg.norm(other, axis=2)
        if np.allclose(*lengths, rtol=1e-5, atol=1e-6 * float(lengths[1].max())):
            turn = np.arctan2(one[..., 1], one[..., 0]) - np.arctan2(other[..., 1], other[..., 0])
            turn = (turn[0] + np.pi) % (2 * np.pi) - np.pi
            shown = ", ".join(f"{angle:.5g}" for angle in turn[:4]) + (", ..." if len(turn) > 4 else "")
            return f"in {name} turned by {shown}"
    return ""


def turned_alike(found: Float32, expected: Float32, differing: Mask) -> str:
    """Say whether the same few pairs are turned by the same small angle in every head, however little."""
    if len(found) < 2 or differing.shape[1] % 2:
        return ""
    pairs: Mask = np.asarray(differing.reshape(len(differing), -1, 2).any(axis=2))
    chosen = np.flatnonzero(pairs[0])
    if not (pairs == pairs[0]).all() or len(chosen) == pairs.shape[1]:
        return ""
    x, t = (values.astype(np.float64).reshape(*pairs.shape, 2)[:, chosen] for values in (found, expected))
    turn = np.arctan2(x[..., 1], x[..., 0]) - np.arctan2(t[..., 1], t[..., 0])
    turn = (turn + np.pi) % (2 * np.pi) - np.pi  # [heads, pairs]
    mean = turn.mean(axis=0)
    if (np.abs(mean) < LEAST_TURN).any() or (np.abs(turn - mean) > TURNS_AGREE * np.abs(mean)).any():
        return ""
    return f"in pairs turned by {', '.join(f'{angle:.5g}' for angle in mean[:4])}" + (", ..." if len(mean) > 4 else "")


def per_column(found: Float32, expected: Float32, differing: Mask) -> str:
    """Say whether every head has the same factors, one for each of its elements."""
    if len(found) < 2 or found.shape[1] < 2:
        return ""
    with np.errstate(all="ignore"):
        ratio = found.astype(np.float64) / expected.astype(np.float64)
    if not np.isfinite(ratio).all() or not np.allclose(ratio, ratio[0], rtol=3e-6):
        return ""
    return f"times a factor for each element: {', '.join(f'{x:.6g}' for x in ratio[0][:4])}, ..."


def by_vector(found: Float32, expected: Float32, vector: Float32) -> tuple[str, str] | None:
    """Return how a known vector makes the found numbers of the right ones, element by element; None if it does not."""
    if vector.size != found.size:
        return None
    x, t, w = (values.astype(np.float64).reshape(-1) for values in (found, expected, vector))
    size = float(np.abs(x).max())
    with np.errstate(all="ignore"):
        for kind, verb, made in (
            ("factor per element", "times", t * w),
            ("factor per element", "divided by", t / w),
            ("constant offset per element", "plus", t + w),
            ("constant offset per element", "minus", t - w),
        ):
            if np.isfinite(made).all() and np.allclose(x, made, rtol=1e-6, atol=1e-6 * size):
                return kind, verb
    return None


def by_part(found: Float32, expected: Float32, vectors: Mapping[str, Float32]) -> str:
    """Say which multiple of a known vector was added to the right numbers; empty if none was."""
    x, t = (values.astype(np.float64).reshape(-1) for values in (found, expected))
    if len(x) < LEAST_FOR_PART or not np.isfinite(x).all():
        return ""
    difference, size = x - t, float(np.abs(x).max())
    most = float(np.abs(difference).max())
    for name, vector in vectors.items():
        w = vector.astype(np.float64).reshape(-1)
        if len(w) != len(x) or not np.isfinite(w).all() or not w.any():
            continue
        part = float(difference @ w / (w @ w))
        left = float(np.abs(difference - part * w).max())
        if left <= 1e-6 * size and left <= PART_EXPLAINS * most:
            return f"plus {part:.4g} times {name}"
        factors, *_ = np.linalg.lstsq(np.stack([t, w], axis=1), x, rcond=None)
        if float(np.abs(x - factors[0] * t - factors[1] * w).max()) <= min(1e-6 * size, PART_EXPLAINS * most):
            return f"times {factors[0]:.7g} plus {factors[1]:.4g} times {name}"
    return ""


def by_function(found: Float32, expected: Float32, known: Mapping[str, Float32]) -> tuple[str, str] | None:
    """Return whose smooth function the factors of elements are, as another activation makes them; None if of none."""
    x, t = (values.astype(np.float64).reshape(-1) for values in (found, expected))
    usable = np.abs(t) > 1e-5 * np.abs(t).max()
    if int(usable.sum()) < LEAST_FOR_FUNCTION:
        return None
    with np.errstate(all="ignore"):
        factors = x[usable] / t[usable]
    count = len(factors)
    if not np.isfinite(factors).all() or len(np.unique(factors)) < count // 2:
        return None
    ranks = np.argsort(np.argsort(factors, kind="stable"), kind="stable")
    for name, vector in known.items():
        if vector.size == x.size:
            order = np.argsort(vector.reshape(-1)[usable], kind="stable")
            if int(np.abs(np.diff(ranks[order])).sum()) < MOST_TURNS * count:
                return "factor per element", f"times a function of {name}: another activation"
    return None
