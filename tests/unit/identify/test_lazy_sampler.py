"""The sampler that reads little draws what the sampler itself draws, under every choice of options (SA-1 to SA-6)."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.identify.lazy_sampler import SAMPLER, LazySampler
from refruntime.identify.reading import SWITCHES, ReadingProfile
from refruntime.sampling import SamplingConfig, sample

BASE = Profile()


def reading(choices: dict[str, Any], read: set[str]) -> ReadingProfile:
    """Return a profile that has these choices and notes which of them are read."""
    chosen: dict[str, Any] = {}

    def choose(name: str) -> Any:
        read.add(name)
        return chosen.setdefault(name, choices[name])

    return ReadingProfile(BASE, choose, chosen, frozenset(SWITCHES))


@pytest.mark.parametrize("seed", range(6))
def test_tokens_and_states_are_those_of_the_sampler(seed: int) -> None:
    """PR-1 to PR-3, SA-1 to SA-6: token and generator state are equal for random options, logits and settings."""
    rng = random.Random(seed)
    lazy = LazySampler()
    coarse = np.array([rng.randrange(-4, 5) / 2 for _ in range(40)], np.float32)  # with many ties
    fine = np.array([rng.uniform(-3, 3) for _ in range(40)], np.float32)
    told_apart = 0
    for _ in range(40):
        logits = rng.choice((coarse, fine))
        config = SamplingConfig.validated(
            rng.choice((0.25, 1.0, 1.7, 1e-40)), rng.choice((1, 2, 7, 40)), rng.choice((0.1, 0.5, 0.9, 1.0)), 1
        )
        state = rng.getrandbits(64) or 1
        outcomes = set()
        for _ in range(4):
            choices = {name: rng.choice(SWITCHES[name]) for name in SWITCHES}
            read: set[str] = set()
            found = lazy(logits, config, state, reading(choices, read))
            expected = sample(logits, config, state, replace(BASE, **choices))
            assert (found.token, found.generator_state) == (expected.token, expected.generator_state)
            assert read <= SAMPLER
            outcomes.add((expected.token, expected.generator_state))
        told_apart += len(outcomes) > 1
    assert told_apart > 10


def test_what_decides_nothing_is_not_read() -> None:
    """A draw from one candidate is the same under all options of PR-3, SA-5 and SA-6: only the generator is read."""
    read: set[str] = set()
    lazy = LazySampler()
    choices = {name: SWITCHES[name][0] for name in SWITCHES}
    logits = np.array([0.0, 5.0, 1.0], np.float32)
    found = lazy(logits, SamplingConfig.validated(1.0, 1, 1.0, 1), 7, reading(choices, read))
    assert found.token == 1
    assert not read & {name for name in SAMPLER if BASE_RULES[name].startswith(("PR-3", "SA-5", "SA-6"))}


BASE_RULES = {switch.attribute: switch.rule for switch in Profile.switches()}
