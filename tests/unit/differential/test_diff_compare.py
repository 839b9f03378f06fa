"""Comparing values by meaning, measuring margins, and the judgement on them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from refruntime import Profile
from refruntime.battery.models.slm1 import Numbers
from refruntime.battery.sampler import ON_AN_EDGE, ROUNDED_OVER_AN_EDGE
from refruntime.differential.compare import float32_bits, same_meaning, status_text
from refruntime.differential.margins import measure
from refruntime.differential.verdict import FINE, MEANINGS, Verdict, exit_code
from refruntime.sampling import SamplingConfig, sample


@pytest.mark.parametrize(
    ("mine", "theirs", "same"),
    [
        (1, 1, True),
        (1, 2, False),
        (0.1, 0.10000000149011612, True),  # the same float32, written shorter and longer
        (0.1, 0.1000001, False),
        (16777216, 16777217, False),  # integers are compared exactly
        (16777216.0, 16777217, True),  # as float32 they are one number
        (0.0, -0.0, True),
        (1e39, 10**400, True),  # both infinite in float32, and no digits too many
        (None, 0, False),
        (True, 1, False),
        ("1", 1, False),
        ([1, [2, 0.5]], [1, [2, 0.5]], True),
        ([1], [1, 2], False),
        ({"min": 1.5}, {"min": 1.5}, True),
        ({"min": 1.5}, {"max": 1.5}, False),
        ({"min": None}, {"min": math.nan}, False),
    ],
)
def test_same_meaning(mine: Any, theirs: Any, same: bool) -> None:
    """DG-7: numbers are compared by the float32 that they read back to, everything else exactly."""
    assert same_meaning(mine, theirs) is same
    assert same_meaning(theirs, mine) is same


def test_float32_bits_are_numpys() -> None:
    """DG-7: the nearest float32, ties to even, over all exponents, at every kind of edge; NumPy rounds apart."""
    rng = np.random.default_rng(7)
    bits = rng.integers(0, 2**64, 4000, np.uint64)
    edges = np.array([0.0, -0.0, 2.0**-149, 2.0**-150, 1.5 * 2.0**-149, 3.4028235677973366e38, 3.4028235677973362e38])
    singles = np.arange(0, 0x7F7FFFFF, 0x3FFF1, np.uint32)
    halfway = (singles.view(np.float32).astype(np.float64) + (singles + 1).view(np.float32)) / 2
    for value in (*bits.view(np.float64), *edges, *-edges, *halfway, *-halfway, math.inf, -math.inf):
        with np.errstate(all="ignore"):
            single = np.float32(value)
        expected = 0x7FC00000 if np.isnan(single) else 0 if single == 0 else int(single.view(np.uint32))
        assert float32_bits(float(value)) == expected


def test_status_text() -> None:
    """ERR-3: statuses are named; a code outside the table is a number."""
    assert status_text(11) == "ContextExceeded (11)"
    assert status_text(99) == "unknown status (99)"


def test_greedy_margin_and_band() -> None:
    """SA-1: the margin is the gap of the logits, the band twice the largest distance from float64."""
    logits = np.array([1.0, 3.0, 2.5], np.float32)
    exact = np.array([1.0, 3.0, 2.5 + 0.125], np.float64)
    choice = sample(logits, SamplingConfig(), 1, Profile())
    assert measure(choice, 2, logits, exact, 0.0) == (0.5, 0.25)
    assert measure(choice, 9, logits, exact, 0.0)[0] == math.inf


def test_drawn_margin_and_band() -> None:
    """SA-6: the margin is the way from the coin to the token's share of the mass; the band measures the edges."""
    logits = np.zeros(4, np.float32)
    config = SamplingConfig.validated(1.0, 4, 1.0, 1)
    choice = sample(logits, config, ON_AN_EDGE[0], Profile())
    assert choice.drawn is not None
    coin = float(choice.drawn.draw.unit)
    exact = np.array([0.0, 0.0, 0.0, math.log(2.0)])  # in float64 the shares are 1, 1, 1, 2 of 5
    edge = (choice.token + (coin * 4 > choice.token + 0.5)) / 4
    neighbour = int(edge * 4) if edge * 4 > choice.token else choice.token - 1
    margin, band = measure(choice, neighbour, logits, exact, 1.0)
    assert margin == pytest.approx(abs(coin - edge))
    assert band == pytest.approx(2 * (0.75 - 0.6), abs=1e-6)
    assert measure(choice, choice.token, logits, exact, 1.0)[0] == 0


def test_token_that_no_rounding_reaches() -> None:
    """SA-2: a token that was not retained has no margin at all."""
    logits = np.array([5.0, 4.0, 3.0], np.float32)
    choice = sample(logits, SamplingConfig.validated(1.0, 2, 1.0, 1), 1, Profile())
    margin, band = measure(choice, 2, logits, logits.astype(np.float64), 1.0)
    assert (margin, band < 1e-6) == (math.inf, True)


def test_exit_codes() -> None:
    """Exit codes: 0 fine, 1 anything else or nothing, 4 a crash whatever else there is."""
    assert exit_code([Verdict.MATCH, Verdict.NEAR_TIE, Verdict.BOTH_FAILED, Verdict.UNSUPPORTED], 3) == 0
    for verdict in set(Verdict) - FINE - {Verdict.ORACLE_CRASH}:
        assert exit_code([Verdict.MATCH, verdict], 3) == 1
    assert exit_code([Verdict.MISMATCH, Verdict.ORACLE_CRASH], 3) == 4
    assert exit_code([Verdict.MATCH], 0) == 1
    assert set(MEANINGS) == set(Verdict)


def first_output(seed: int) -> int:
    """XorShift64 with shifts 13, 7, 17, written again."""
    x = seed
    x ^= x * 2**13 % 2**64
    x ^= x // 2**7
    return (x ^ x * 2**17) % 2**64


def test_seeds_of_the_battery_fall_on_edges() -> None:
    """SA-6, PR-3: the seeds do what their cases are for: 64 draws are whole, or become whole with more bits."""
    for seed in ON_AN_EDGE:
        assert (first_output(seed) >> 40) * 64 % 2**24 == 0
    for seed in ROUNDED_OVER_AN_EDGE:
        output = first_output(seed)
        more_bits = np.float32(output / 2**64)
        assert math.floor(float(more_bits) * 64) == (output >> 40) * 64 // 2**24 + 1


def test_numbers_of_the_battery() -> None:
    """SplitMix64 as published: the first outputs of seed 1234567 (Vigna's reference program)."""
    numbers = Numbers(0)
    numbers._position = np.uint64(1234567)
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [int(value) for value in numbers.integers(5)] == published
    assert [int(value) for value in Numbers(3).integers(4)] == [int(Numbers(3).integers(n + 1)[n]) for n in range(4)]
    uniform = Numbers(1).uniform(1000, scale=2.0)
    assert uniform.dtype == np.float32
    assert -2 <= uniform.min() < -1.9
    assert 1.9 < uniform.max() <= 2
