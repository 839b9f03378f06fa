"""Rotary embeddings and their scalings against a separately written float64 few-liner."""

from __future__ import annotations

import math

import numpy as np
import pytest

from refruntime.numerics import F64, CompiledSeq32, Numerics, RopeScaling, Seq32

POSITIONS = np.array([0, 1, 7, 63, 200])


def angles(
    numerics: Numerics, scaling: RopeScaling | None, factors: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    rotary = numerics.rotary(10000.0, 16, None if factors is None else numerics.array(factors), scaling)
    pairs = [numerics.rope_angles(int(position), 1, rotary) for position in POSITIONS]
    return tuple(np.concatenate([pair[part] for pair in pairs]) for part in (0, 1))


def expected_turns(factors: object = 1.0) -> np.ndarray:
    return np.outer(POSITIONS, 10000.0 ** (-np.arange(8) / 8)) / factors


@pytest.mark.parametrize("numerics", [CompiledSeq32(), F64()], ids=["seq32", "f64"])
def test_plain_factors_and_linear(numerics: Numerics) -> None:
    """FW-5, GG-8: frequencies theta^(-2i/D), divided by the factors, stretched by a linear factor."""
    factors = np.linspace(1, 8, 8)
    tolerance = 2e-5 if isinstance(numerics, Seq32) else 1e-12
    for found, turns in (
        (angles(numerics, None), expected_turns()),
        (angles(numerics, None, factors), expected_turns(factors)),
        (angles(numerics, RopeScaling("linear", 4.0)), expected_turns() / 4),
    ):
        np.testing.assert_allclose(found[0], np.cos(turns), atol=tolerance)
        np.testing.assert_allclose(found[1], np.sin(turns), atol=tolerance)


def test_yarn() -> None:
    """FW-5, CL-gguf: YaRN keeps fast pairs, stretches slow ones, blends between, and enlarges the magnitude."""
    cosines, sines = angles(F64(), RopeScaling("yarn", 4.0, original_context=64))
    size = np.hypot(cosines, sines)
    np.testing.assert_allclose(size, 1 + 0.1 * math.log(4.0), rtol=1e-12)
    # turns of pair i within 64 positions: 64 / (2 pi) * 10000^(-i/8); 32 turns are never reached, 1 is at i = 2.02
    kept = [1 - min(1.0, i / 3) for i in range(8)]
    turns = expected_turns() * [k + (1 - k) / 4 for k in kept]
    np.testing.assert_allclose(cosines / size, np.cos(turns), atol=1e-12)
    np.testing.assert_allclose(sines / size, np.sin(turns), atol=1e-12)


def test_yarn_between_two_pairs() -> None:
    """CL-gguf: the blend begins at the pair that the fast limit rounds down to, and ends where the slow one rounds up.

    Within 512 positions pair i makes 512 / (2 pi) * 10000^(-i/8) turns: 8 at i = 2.02, 1 at i = 3.82.
    """
    scaling = RopeScaling("yarn", 4.0, original_context=512, beta_fast=8.0, beta_slow=1.0)
    assert scaling.ramp(10000.0, 16) == [1, 1, 1, 0.5, 0, 0, 0, 0]
