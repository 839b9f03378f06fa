"""The generator against numbers that were published by others, and against its theory."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest

from refruntime import Profile
from refruntime.contract import Switch
from refruntime.sampling import draw, seeded
from refruntime.sampling.generator import unit_value

STAR: Final = "12,25,27 times 0x2545F4914F6CDD1D"

MARSAGLIA = [
    8748534153485358512,
    3040900993826735515,
    3453997556048239312,
    16431732851926010853,
    8204724074003728306,
    17801246309558322749,
    7041795614029497201,
    16736801589742238903,
]
"""First outputs of shifts 13, 7, 17 from 88172645463325252, the seed in Marsaglia's "Xorshift RNGs" (2003)."""

VIGNA = [
    5180492295206395165,
    12380297144915551517,
    13389498078930870103,
    5599127315341312413,
    1036278371763004928,
]
"""First outputs of xorshift64* from seed 1, as test suites of several libraries have them."""

BIT = 1 << 64


def run(state: int, count: int, profile: Profile) -> list[int]:
    numbers = []
    for _ in range(count):
        step = draw(state, profile)
        numbers.append(step.output)
        state = step.after
    return numbers


def test_published_outputs_of_xorshift64() -> None:
    """PR-1: shifts 13, 7, 17 give Marsaglia's sequence; the output is the new state."""
    assert run(88172645463325252, 8, Profile()) == MARSAGLIA
    step = draw(88172645463325252, Profile())
    assert (step.before, step.after, step.output) == (88172645463325252, MARSAGLIA[0], MARSAGLIA[0])


def test_published_outputs_of_xorshift64_star() -> None:
    """PR-1, CL-sampler: the third option is xorshift64*: right 12, left 25, right 27, times the constant."""
    profile = Profile(xorshift=STAR)
    assert run(1, 5, profile) == VIGNA
    step = draw(1, profile)
    assert step.output == step.after * 0x2545F4914F6CDD1D % BIT


def test_second_option_by_hand() -> None:
    """PR-1, CL-sampler: shifts left 7, right 9, left 8, worked out for state 1."""
    # 1 -> 1 + 2^7 = 0x81; 0x81 >> 9 = 0; 0x81 + 0x8100 = 0x8181
    assert draw(1, Profile(xorshift="7,9,8")).output == 0x8181
    # 2^9 -> 2^9 + 2^16; the right shift adds 2^7 and 1; the left shift by 8 adds 2^17, 2^24, 2^15, 2^8
    expected = 2**9 + 2**16 + 2**7 + 1 + 2**17 + 2**24 + 2**15 + 2**8
    assert draw(2**9, Profile(xorshift="7,9,8")).output == expected


def columns_of(profile: Profile) -> list[int]:
    """Return the images of the 64 unit vectors: the step as a matrix over GF(2)."""
    return [draw(1 << place, profile).after for place in range(64)]


def apply(columns: list[int], vector: int) -> int:
    result = 0
    for place, column in enumerate(columns):
        if vector >> place & 1:
            result ^= column
    return result


def power(columns: list[int], exponent: int) -> list[int]:
    result = [1 << place for place in range(64)]
    while exponent:
        if exponent & 1:
            result = [apply(columns, column) for column in result]
        columns = [apply(columns, column) for column in columns]
        exponent >>= 1
    return result


@pytest.mark.parametrize("xorshift", ["13,7,17", "7,9,8", STAR])
def test_step_is_linear(xorshift: str) -> None:
    """PR-1: shifts and exclusive ors make a linear map over GF(2): the image of a sum is the sum of the images."""
    profile = Profile(xorshift=xorshift)  # type: ignore[arg-type]
    columns = columns_of(profile)
    for state in (3, 0xDEADBEEF, 0x9E3779B97F4A7C15, 2**64 - 1):
        assert draw(state, profile).after == apply(columns, state)


@pytest.mark.parametrize("xorshift", ["13,7,17", STAR])
def test_period_is_full(xorshift: str) -> None:
    """PR-1: the published period 2^64 - 1: the matrix has that order, and no proper divisor of it."""
    columns = columns_of(Profile(xorshift=xorshift))  # type: ignore[arg-type]
    identity = [1 << place for place in range(64)]
    primes = [3, 5, 17, 257, 641, 65537, 6700417]
    product = 1
    for prime in primes:
        product *= prime
    assert product == 2**64 - 1
    assert power(columns, 2**64 - 1) == identity
    for prime in primes:
        assert power(columns, (2**64 - 1) // prime) != identity


def test_second_option_is_no_full_period_generator() -> None:
    """PR-1: 7, 9, 8 is known as a triple for 16 bits; with 64 bits its period does not divide 2^64 - 1."""
    assert power(columns_of(Profile(xorshift="7,9,8")), 2**64 - 1) != [1 << place for place in range(64)]


def zero_seed_switch() -> Switch:
    (switch,) = [switch for switch in Profile.switches() if switch.rule == "PR-2"]
    return switch


@pytest.mark.parametrize(
    ("option", "state"),
    [
        ("0x9E3779B97F4A7C15", 11400714819323198485),
        ("1", 1),
        ("0x2545F4914F6CDD1D", 2685821657736338717),
        ("88172645463325252", 88172645463325252),
    ],
)
def test_seed_zero(option: str, state: int) -> None:
    """PR-2: seed 0 is replaced by the constant of the profile, every other seed is the state itself."""
    profile = Profile(zero_seed=option)  # type: ignore[arg-type]
    assert option in zero_seed_switch().options
    assert seeded(0, profile) == state
    for seed in (1, 2, 2**63, 2**64 - 1):
        assert seeded(seed, profile) == seed


@pytest.mark.parametrize(
    ("output", "bits24", "bits53", "quotient"),
    [
        (0, 0.0, 0.0, 0.0),
        (2**64 - 1, 1 - 2.0**-24, 1.0, 1.0),
        (2**63, 0.5, 0.5, 0.5),
        (2**40 - 1, 0.0, 2.0**-24, 2.0**-24),  # below 2^-24; float32 has finer steps there and rounds up
        (2**11 - 1, 0.0, 0.0, 2047 * 2.0**-64),
        (2**63 - 1, 0.5 - 2.0**-24, 0.5, 0.5),
        (2**63 - 2**38 - 1, 0.5 - 2.0**-24, 0.5 - 2.0**-25, 0.5),
    ],
)
def test_units(output: int, bits24: float, bits53: float, quotient: float) -> None:
    """PR-3: the three conversions of one output, by hand; those that go through float64 may reach 1."""
    for option, expected in (("24 high bits", bits24), ("53 high bits", bits53), ("output / 2^64", quotient)):
        unit = unit_value(output, Profile(unit_conversion=option))  # type: ignore[arg-type]
        assert type(unit) is np.float32
        assert float(unit) == expected, option


def test_units_of_the_default_are_exact() -> None:
    """PR-3: 24 bits fit a float32 exactly, so the unit times 2^24 is the output's high part again, below 1."""
    for output in run(1, 500, Profile()):
        unit = unit_value(output, Profile())
        assert int(float(unit) * 2**24) == output >> 40
        assert unit < 1


def test_state_is_never_zero() -> None:
    """PR-1, PR-2: zero is the only fixed point, and no seed leads there."""
    for xorshift in ("13,7,17", "7,9,8", STAR):
        profile = Profile(xorshift=xorshift)
        assert draw(0, profile).after == 0
        assert all(column for column in columns_of(profile))
        state = seeded(0, profile)
        for _ in range(1000):
            state = draw(state, profile).after
            assert 0 < state < BIT
