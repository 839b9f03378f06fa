"""How terms are grouped when they are added: lanes, groups, halves. Terms are [n, ...], `run` adds them in order."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.varied.roundings import Rounding

Array = NDArray[Any]
Run = Callable[..., Array]

TAILS: Final = {
    "tail in lanes": "one more term for the first lanes",
    "tail after": "added to the reduced sum, one after the other",
    "tail apart": "a sum of its own, added to the reduced sum",
    "tail in the first lane": "added to the first lane, one after the other",
    "tail in the last lane": "added to the last lane, one after the other",
    "tail before": "summed first, then the lanes are added to it one by one",
    "tail by fours": "as long as there are four, one for each of the first four lanes; then after",
    "front after": "the first terms are left over, not the last; added to the reduced sum, one after the other",
    "front apart": "the first terms, as a sum of their own",
    "front in the first lane": "the first lane starts with the first terms",
}
REDUCTIONS: Final = {
    "in order": "((0 + 1) + 2) + 3",
    "neighbours": "(0 + 1) + (2 + 3)",
    "halves": "(0 + 2) + (1 + 3)",
    "backwards": "((3 + 2) + 1) + 0",
}
"""Lanes may also be reduced as vectors of four: `fours in order then halves` adds vectors, then the lanes of one."""

FOURS: Final = re.compile(r"fours (in order|neighbours|halves) then (in order|neighbours|halves)")


def lanes(terms: Array, count: int, tail: str, reduction: str, run: Run) -> Array:
    """Add every count-th term in a sum of its own; `TAILS` says what happens to those that fill no group."""
    left_over = len(terms) % count
    if tail.startswith("front"):
        extra, main = terms[:left_over], terms[left_over:]
    else:
        extra, main = terms[len(terms) - left_over :], terms[: len(terms) - left_over]
    grouped = main.reshape(-1, count, *terms.shape[1:])
    if tail == "front in the first lane":
        start = np.zeros_like(run(grouped[:0]))
        start[0] = run(extra)
        return joined(list(run(grouped, start)), reduction)
    sums = run(grouped)  # [count, ...]
    if tail == "tail in lanes":
        sums[:left_over] = run(extra[None], sums[:left_over])
    elif tail == "tail in the first lane":
        sums[0] = run(extra, sums[0])
    elif tail == "tail in the last lane":
        sums[-1] = run(extra, sums[-1])
    elif tail == "tail before":
        return joined([run(extra), *sums], "in order")
    elif tail == "tail by fours":
        whole = left_over - left_over % 4
        sums[:4] = run(extra[:whole].reshape(-1, 4, *terms.shape[1:]), sums[:4]) if count >= 4 else sums[:4]
        extra = extra[whole:]
    total = joined(list(sums), reduction)
    if tail.endswith(("after", "by fours")):
        return run(extra, total)
    if tail.endswith("apart"):
        total = total + run(extra)
    return total


def joined(parts: list[Array], reduction: str) -> Array:
    """Add partial sums: a list of [...] -> [...]."""
    fours = FOURS.fullmatch(reduction)
    if fours:
        vectors = [np.stack(parts[at : at + 4]) for at in range(0, len(parts), 4)]
        return joined(list(joined(vectors, fours[1])), fours[2])
    if reduction == "backwards":
        parts = parts[::-1]
    while len(parts) > 1:
        half = len(parts) // 2
        if reduction == "neighbours" and len(parts) % 2 == 0:
            parts = [a + b for a, b in zip(parts[::2], parts[1::2], strict=True)]
        elif reduction == "halves" and len(parts) % 2 == 0:
            parts = [a + b for a, b in zip(parts[:half], parts[half:], strict=True)]
        else:
            parts = [parts[0] + parts[1], *parts[2:]]
    return parts[0]


def groups(terms: Array, count: int, reduction: str, rounding: Rounding) -> Array:
    """Add the terms of a group to each other, then to the sum; what fills no group is added one by one."""
    whole = len(terms) - len(terms) % count
    single = rounding.single(terms[:whole])
    grouped = single.reshape(-1, count, *terms.shape[1:])  # [groups, count, ...]
    sums = joined([grouped[:, index] for index in range(count)], reduction)  # [groups, ...]
    total = rounding.run(terms[:0])
    for group in sums:
        total = total + group
    return rounding.run(terms[whole:], total)


def pairwise(terms: Array, run: Run, leaf: int, powers: bool) -> Array:
    """Split in two until at most `leaf` terms are left; with `powers` the first part is the greatest power of two."""
    count = len(terms)
    if count <= leaf:
        return run(terms)
    middle = 1 << ((count - 1).bit_length() - 1) if powers else count // 2
    return pairwise(terms[:middle], run, leaf, powers) + pairwise(terms[middle:], run, leaf, powers)


def halving(terms: Array) -> Array:
    """Add the second half to the first until one is left; of an odd number the middle one waits."""
    while len(terms) > 1:
        half = (len(terms) + 1) // 2
        rest = terms[half:]
        terms = np.concatenate([terms[: len(rest)] + rest, terms[len(rest) : half]])
    result: Array = terms.sum(axis=0, dtype=terms.dtype)
    return result


def numpy_order(terms: Array, run: Run) -> Array:
    """Add as `np.add.reduce` does along contiguous numbers: eight lanes up to 128 terms, pairwise above."""
    count = len(terms)
    if count < 8:
        return run(terms)
    if count <= 128:
        return lanes(terms, 8, "tail after", "neighbours", run)
    middle = count // 2 - count // 2 % 8
    return numpy_order(terms[:middle], run) + numpy_order(terms[middle:], run)
