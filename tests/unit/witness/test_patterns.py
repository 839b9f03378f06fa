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


def test_halves_that_are_not_the_nearest() -> None:
    """FW-4: sums that were rounded after every product are IEEE halves some units away from the right number."""
    right = numbers(1, 32)
    halves = right.astype(np.float16)
    found = np.where(np.arange(32) % 3 == 0, np.nextafter(halves, np.float16(9)), halves).astype(np.float32)
    kind, text = told(found, right)
    assert kind == "rounded to f16"
    assert "not the nearest" in text


def test_numbers_cut_to_halves() -> None:
    """FW-9: toward zero, in the third head alone."""
    right = numbers(4, 16)
    found = right.copy()
    half = right[2].astype(np.float16)
    found[2] = np.where(np.abs(half) > np.abs(right[2]), np.nextafter(half, np.float16(0)), half)
    assert told(found, right) == ("rounded to f16", "all 16 of head 2 cut to f16")


def test_multiples_of_a_power_of_two() -> None:
    """FW-4: fixed point."""
    right = numbers(1, 32)
    found = np.rint(right * 1024).astype(np.float32) / np.float32(1024)
    assert told(found, right) == ("rounded to n bits", "all 32 rounded to multiples of 2^-10")


def test_ones_are_not_rounded_numbers() -> None:
    """FW-6: the first element of every head is what the softmax of another left there."""
    right = numbers(4, 2)
    found = right.copy()
    found[:, 0] = [0.875, 1, 0.5, 1]
    assert told(found, right)[0] == "other"


@pytest.mark.parametrize("rows", [1, 4])
def test_full_numbers_are_not_rounded(rows: int) -> None:
    """FW-4: noise of the size of a half's unit leaves all bits in use."""
    right = numbers(rows, 16)
    found = right * (1 + numbers(rows, 16, seed=3) * np.float32(2**-11))
    assert told(found, right)[0] == "other"


def test_weights_of_scores_times_a_factor() -> None:
    """FW-6: softmax of 1.01 times the scores; where it has but two numbers, anything would fit."""
    scores = 3 * numbers(4, 6).astype(np.float64)
    right, found = (
        (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)).astype(np.float32) for x in (scores, 1.01 * scores)
    )
    kind, text = told(found, right)
    assert kind == "factor per element"
    assert text.endswith("to the power 1.01, divided by their sum: those of scores times 1.01")
    whole, part = (np.exp(x - x.max()).astype(np.float32)[None] for x in (scores[0], scores[0] / 4))
    assert told(part, whole)[1].endswith(" to the power 0.25: those of scores times 0.25")
    assert told(np.square(numbers(4, 2, seed=4)), np.square(numbers(4, 2)))[0] == "other"


def test_offsets_of_heads_and_of_elements() -> None:
    """FW-6: one for each head, one for each element, one that grows with the distance."""
    right = numbers(4, 8)
    head: Float32 = np.array([0.25, 0.5, 0.75, 1], np.float32)[:, None]
    element = numbers(1, 8, seed=6)
    assert told(np.add(right, head), right)[0] == "constant offset"
    kind, text = told(right + element, right)
    assert (kind, "the same in every head" in text) == ("constant offset per element", True)
    growing: Float32 = (head * np.arange(8)).astype(np.float32)
    kind, text = told(right + growing, right)
    assert kind == "constant offset per element"
    assert text.endswith("that grow evenly from element to element, in each head by 0.25, 0.5, 0.75, 1, ...")


def test_a_part_of_a_known_array_is_told_but_is_no_pattern() -> None:
    """FW-2: the residual times 0.999 plus what is added to it."""
    residual, output = numbers(1, 32), numbers(1, 32, seed=2)
    found, right = np.float32(0.999) * residual + output, residual + output
    assert told(found, right, blk_of_1_of_residual=residual) == ("other", "all 32 plus -0.001 times blk.1.residual")


def test_scales_of_other_rows() -> None:
    """SL-2: those of another matrix, of the row before, and none at all."""
    values, scales, others = numbers(1, 24), np.exp(numbers(1, 24, seed=8)[0]), np.exp(numbers(1, 24, seed=9)[0])
    known = {"the scales of blk.1.x": scales, "the scales of blk.0.x": others}

    def text(held: Float32) -> str:
        pattern = find_pattern(values * held, values * scales, known, "blk.1.x")
        assert pattern.kind == "another scale"
        return pattern.text

    assert text(others) == "all 24 with the scales of blk.0.x"
    assert text(np.roll(scales, 1)) == "all 24 with the scales of the rows before"
    assert text(np.ones_like(scales)) == "all 24 divided by the scales of blk.1.x"
    assert find_pattern(values * others, values * scales, {}, "blk.1.x").kind == "other"


def test_halves_woven_in_each_head() -> None:
    """FW-5: element 2i is the right i, 2i + 1 the right i + D / 2, in each 16 of 64."""
    right = numbers(1, 64)
    found = right.reshape(4, 2, 8).transpose(0, 2, 1).reshape(1, 64)
    kind, text = told(found, right)
    assert kind == "permutation"
    assert text.endswith("with halves woven, in each 16 of them")


def test_only_a_ratio_of_weights_is_of_other_weights() -> None:
    """FW-2, FW-3: another layer's gain; what is divided by a sum, or by one vector, is no matter of which weights."""
    right, one, other = numbers(1, 24), numbers(1, 24, seed=2), numbers(1, 24, seed=3)
    known = {"the weights of blk.0.attn_norm": one, "the weights of blk.1.attn_norm": other}
    assert find_pattern(right * one / other, right, known, "blk.1.attn_norm").of_other_weights
    assert not find_pattern(right / one, right, known, "blk.1.attn_norm").of_other_weights
    assert not Pattern("factor per element", "to the power 1.01, divided by their sum").of_other_weights
