"""What is said of wrong numbers: each is made wrong by hand here, in the way that has to be named."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from refruntime.witness.patterns import Pattern, find_pattern

Float32 = NDArray[np.float32]


def numbers(rows: int, size: int, seed: int = 1) -> Float32:
    return np.random.default_rng(seed).standard_normal((rows, size)).astype(np.float32)


def told(found: Float32, right: Float32, **more: Float32) -> tuple[str, str]:
    pattern = find_pattern(
        found, right, {name.replace("_of_", "."): values for name, values in more.items()}, "blk.1.x"
    )
    return pattern.kind, pattern.text


def test_a_tail_that_repeats_a_block() -> None:
    """FW-4: rows 20 .. 23 hold those of rows 8 .. 11."""
    right = numbers(1, 24)
    found = right.copy()
    found[0, 20:] = right[0, 8:12]
    assert told(found, right) == ("permutation", "elements 20 .. 23 equal to the right ones 12 before")


def test_heads_that_begin_too_early() -> None:
    """FW-6: head h is displaced by h elements, with others coming in at its beginning."""
    right = numbers(4, 16)
    found = right.copy()
    for head in (1, 2, 3):
        found[head, head:] = right[head, :-head]
        found[head, :head] = numbers(1, head, seed=9)[0]
    kind, text = told(found, right)
    assert kind == "permutation"
    assert text.endswith("of other places: head 1 1 before, head 2 2 before, head 3 3 before")


@pytest.mark.parametrize("levels", [127, 7])
def test_multiples_of_a_part_of_the_largest(levels: int) -> None:
    """FW-9: a cache of small integers with a scale for each head."""
    right = numbers(4, 16)
    step = np.abs(right).max(axis=1, keepdims=True) / np.float32(levels)
    found = np.rint(right / step).astype(np.float32) * step
    kind, text = told(found, right)
    assert kind == "rounded to n bits"
    assert text.endswith(f"rounded to multiples of 1/{levels} of the largest of each head")


def test_small_numbers_are_not_rounded_ones() -> None:
    """SA-3: weights under the temperature squared are small beside the greatest as the right ones are."""
    distances = np.arange(16, dtype=np.float32) + 8
    distances[0] = 0
    kind, text = told(np.exp(-distances)[None], np.exp(-4 * distances)[None])
    assert kind != "rounded to n bits", text


def test_a_soft_cap() -> None:
    """FW-6: every number a little smaller, the larger the more."""
    right = 5 * numbers(4, 2)
    found = np.array([[30 * math.tanh(x / 30) for x in row] for row in right.tolist()], np.float32)
    kind, text = told(found, right)
    assert kind == "factor per element"
    assert text.endswith("30 tanh(x / 30): under a soft cap")


def test_no_soft_cap_where_one_factor_explains_it() -> None:
    """FW-6: one factor is told as such."""
    right = numbers(4, 8)
    assert told(right * np.float32(0.9), right)[0] == "constant factor"


def test_the_operands_of_the_gate_exchanged() -> None:
    """FW-7: silu(up) * gate in the last four elements."""
    gate, up = numbers(1, 32, seed=2), numbers(1, 32, seed=3)
    right, other = (a / (1 + np.exp(-a)) * b for a, b in ((gate, up), (up, gate)))
    found = right.copy()
    found[0, -4:] = other[0, -4:]
    kind, text = told(found, right, blk_of_1_of_gate=gate, blk_of_1_of_up=up)
    assert kind == "swapped operands"
    assert text == "elements 28 .. 31 silu of blk.1.up times blk.1.gate, not silu of blk.1.gate times blk.1.up"


def test_a_part_that_equals_another_array() -> None:
    """FW-2: what is computed from the same, what lay in the same place before, and any other are three things."""
    right, other = numbers(1, 16), numbers(1, 16, seed=5)
    found = right.copy()
    found[0, 8:] = other[0, 8:]

    def pattern(**named: list[str]) -> Pattern:
        return find_pattern(found, right, {"blk.1.other": other}, "blk.1.x", **named)

    assert pattern().kind == "copy"
    assert pattern(siblings=["blk.1.other"]).kind == "swapped operands"
    assert pattern(before=["blk.1.other"]).text == "elements 8 .. 15 left as they were in blk.1.other"
    assert find_pattern(other, right, {"blk.1.other": other}, "blk.1.x", before=["blk.1.other"]).kind == "copy"


def test_nothing_is_read_into_other_numbers() -> None:
    """FW-4: numbers that have nothing to do with the right ones have no pattern."""
    for rows, size in ((1, 64), (4, 16), (4, 2)):
        assert told(numbers(rows, size, seed=7), numbers(rows, size))[0] == "other"
