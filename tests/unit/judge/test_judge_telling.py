"""What rounding explains, and which arithmetics are told apart: by engines whose arithmetic is known."""

from __future__ import annotations

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.judge.judge import Judge
from refruntime.judge.noise import Noise, apart_at_positions, reach
from refruntime.judge.telling import Telling
from refruntime.judge.verdict import StageVerdict
from refruntime.numerics.ggml32 import ORDERS, Reordered, Switches
from tests.unit.judge.test_judge import logits_of, opened, seen

PLACES, ENGINES, KINDS = 16, 5, 4


def far(rng: np.random.Generator, own: int, clean: float) -> np.ndarray:
    """Return distances [P, T] of an engine: near to its own arithmetic at a share of positions, else near to none."""
    distances = rng.lognormal(-2, 0.4, (KINDS, PLACES))
    places = rng.random(PLACES) < clean
    distances[own, places] = rng.lognormal(-13, 0.4, places.sum())
    return distances


def knowing(rng: np.random.Generator, clean: float) -> Telling:
    """Return known engines of each arithmetic, the first the arithmetic itself."""
    known = []
    for own in range(KINDS):
        engines = [far(rng, own, clean) for _ in range(ENGINES)]
        engines[0][own] = 0
        known.append(engines)
    return Telling(range(KINDS), known)


def test_what_looks_alike_is_not_told_apart() -> None:
    """Where engines of each arithmetic lie equally far from all, the right one is never refuted."""
    rng = np.random.default_rng(7)
    every = list(range(KINDS))
    for _ in range(200):
        telling, own = knowing(rng, 0.0), int(rng.integers(KINDS))
        assert own not in telling.refutations(far(rng, own, 0.0), every)


def test_what_is_nearest_at_most_positions() -> None:
    """Where most positions are clean, all but the right one are refuted, by it."""
    rng = np.random.default_rng(8)
    for _ in range(50):
        telling, own = knowing(rng, 0.95), int(rng.integers(KINDS))
        refuted = telling.refutations(far(rng, own, 0.95), list(range(KINDS)))
        assert set(refuted) == set(range(KINDS)) - {own}
        assert {one.by for one in refuted.values()} == {own}
        assert all(one.places <= PLACES and one.weight > one.chance for one in refuted.values())


def test_alike_by_name() -> None:
    """Arithmetics of one kind never refute each other."""
    rng = np.random.default_rng(9)
    engines = [[far(rng, own, 1.0) for _ in range(ENGINES)] for own in range(KINDS)]
    assert Telling([0] * KINDS, engines).refutations(far(rng, 1, 1.0), [0, 1, 2, 3]) == {}


def test_how_far_rounding_reaches() -> None:
    """The limit lies as far beyond the farthest order as that beyond the nearest; what is 0 says nothing."""
    assert reach([1.0, 2.0, 4.0]) == 16.0
    assert reach([0.0, 3.0]) == 3.0
    assert reach([3.0], 2.0) == 6.0
    assert reach([]) == 0.0
    orders = [[np.array([1.0, 2.0, 1.0]), np.array([3.0, 2.0, 2.0])], [np.array([0.0]), np.array([1.0])]]
    assert apart_at_positions(orders) == 2.0
    plain = Noise([1.0, 2.0], [4.0, 6.0])
    assert (plain.limit, plain.worst_limit) == (4.0, 9.0)
    turned = Noise([1.0, 2.0], [4.0, 300.0], [50.0, 100.0])
    assert (turned.limit, turned.worst_limit, turned.worst_band) == (4.0, 300.0, 300.0)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
def test_a_hidden_setting(seed: int) -> None:
    """An engine with a setting and an order of sums that are drawn at random is recognised."""
    rng = np.random.default_rng(seed)
    names = ("stories.q8_0.gguf", "stories.q4_0.gguf", "small.f16.gguf", "wide.q6_k.gguf")
    model = opened(str(rng.choice(names)))
    switches = (Switches(), Switches(kv="f16"), Switches(kv="f16", flash="on"))[rng.integers(3)]
    order = ORDERS[rng.integers(len(ORDERS))]
    judgement = Judge(model, Profile()).judge(seen(model, lambda: Reordered(switches, order, 100 + seed)))
    finding = logits_of(judgement)
    assert finding.verdict is StageVerdict.POLICY, finding.text
    assert str(switches) in finding.facts["alike"], finding.text
    chosen = next(one for one in judgement.measured if one.name == str(switches))
    assert chosen.nearest_at == max(one.nearest_at for one in judgement.measured)
