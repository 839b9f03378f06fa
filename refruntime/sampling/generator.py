"""The project-owned integer generator XorShift64 and its conversion to a unit value, as pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refruntime.contract.profile import Profile

_MASK = 2**64 - 1
_MULTIPLIER = 0x2545F4914F6CDD1D


@dataclass(frozen=True)
class Draw:
    """One use of the generator: state before and after, the raw 64-bit output and the unit value in [0, 1]."""

    before: int
    after: int
    output: int
    unit: np.float32


def seeded(seed: int, profile: Profile) -> int:
    """Return the state for a configured seed (0 .. 2^64-1); seed 0 is replaced by a constant (PR-2)."""
    return (seed & _MASK) or int(profile.zero_seed, 0)


def draw(state: int, profile: Profile) -> Draw:
    """Advance the generator once (PR-1) and convert the output (PR-3)."""
    x = state
    if profile.xorshift == "13,7,17":
        x = _left(x, 13)
        x = _right(x, 7)
        x = _left(x, 17)
    elif profile.xorshift == "7,9,8":
        x = _left(x, 7)
        x = _right(x, 9)
        x = _left(x, 8)
    else:
        x = _right(x, 12)
        x = _left(x, 25)
        x = _right(x, 27)
    output = x if "times" not in profile.xorshift else x * _MULTIPLIER & _MASK
    return Draw(before=state, after=x, output=output, unit=unit_value(output, profile))


def unit_value(output: int, profile: Profile) -> np.float32:
    """Convert a 64-bit output to float32 (PR-3). The options that go through float64 may round up to 1.0."""
    if profile.unit_conversion == "24 high bits":
        return np.float32(output >> 40) / np.float32(16777216.0)
    if profile.unit_conversion == "53 high bits":
        return np.float32((output >> 11) / 9007199254740992.0)
    return np.float32(float(output) / 18446744073709551616.0)


def _left(x: int, bits: int) -> int:
    return x ^ (x << bits & _MASK)


def _right(x: int, bits: int) -> int:
    return x ^ x >> bits
