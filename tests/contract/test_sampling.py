"""Sections 8 and 13 on the sampler, rule by rule, with expectations made by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from refruntime import Profile
from refruntime.sampling import Choice, SamplingConfig, sample
from refruntime.sampling.stages import Weighing, argmax, cut, pick, select, weigh
from tests.contract.host import Host
from tests.contract.models import table_model
from tests.second_opinion.sampler_reference import f32, outputs, unit

NAN, INF = math.nan, math.inf
DEFAULT = Profile()
HIGHER_ID = Profile(equal_logits="higher id first")
RECIPROCAL = Profile(temperature_scaling="multiply by the f32 reciprocal")
DROP = Profile(top_p_crossing="drop crossing but keep one")
AT_MOST = Profile(draw_comparison="<=")
TINY = f32(2.0**-149)


def array(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def choose(logits: np.ndarray, state: int = 1, profile: Profile = DEFAULT, **config: Any) -> Choice:
    values = {"temperature": 1.0, "top_k": 1024, "top_p": 1.0, "seed": 1} | config
    return sample(logits, SamplingConfig.validated(**values), state, profile)


def weighing(*weights: float) -> Weighing:
    values = array(*weights)
    sums = np.add.accumulate(values, dtype=np.float32)
    return Weighing(values, sums, sums[-1])


@pytest.mark.parametrize(
    ("logits", "winner"),
    [
        ([1, 3, 2], 1),
        ([3, 3, 3], 0),
        ([1, 2, 2, 2], 1),
        ([NAN, 1, 2], 2),
        ([NAN, -5, NAN], 1),
        ([NAN, NAN], 0),
        ([-INF, -INF], 0),
        ([NAN, -INF], 0),
        ([-INF, NAN, -3e38], 2),
        ([1, INF, INF], 1),
        ([-0.0, 0.0], 0),
        ([0.0, -0.0], 0),
        ([-TINY, -0.0, 0.0, TINY], 3),
        ([7], 0),
    ],
)
def test_greedy(logits: list[float], winner: int) -> None:
    """SA-1: first of equals wins, NaN never wins, id 0 if none is above -infinity; -0.0 equals 0.0."""
    assert argmax(array(*logits)) == winner
    for temperature in (0.0, -0.0):
        choice = choose(array(*logits), temperature=temperature)
        assert choice.token == winner
        assert choice.generator_state == 1
        assert (choice.drawn, choice.selection) == (None, None)
        assert choice.greedy_reason


@pytest.mark.parametrize(
    ("logits", "top_k", "lower", "higher"),
    [
        ([1, 2, 3], 2, [2, 1], [2, 1]),
        ([5, 5, 5, 5], 2, [0, 1], [3, 2]),
        ([1, 2, 2, 2, 3], 3, [4, 1, 2], [4, 3, 2]),
        ([0.0, -0.0, 0.0], 3, [0, 1, 2], [2, 1, 0]),
        ([-0.0, 0.0], 1, [0], [1]),
        ([NAN, 1, NAN, 2], 4, [3, 1], [3, 1]),
        ([NAN, NAN], 4, [], []),
        ([-INF, INF, 0], 3, [1, 2, 0], [1, 2, 0]),
        ([-INF, -INF], 1, [0], [1]),
        ([1, 2], 1024, [1, 0], [1, 0]),
    ],
)
def test_retained(logits: list[float], top_k: int, lower: list[int], higher: list[int]) -> None:
    """SA-2: descending, never NaN, ties by id, also at the cut, at most min(top_k, V)."""
    for profile, expected in ((DEFAULT, lower), (HIGHER_ID, higher)):
        selection = select(array(*logits), top_k, profile)
        assert selection.ids.tolist() == expected
        assert selection.logits.tolist() == [logits[token] for token in expected]


def test_at_most_1024_are_retained() -> None:
    """SA-2, SC-2: a large vocabulary is cut at 1024, with the tie rule of the profile at the cut."""
    logits = np.zeros(3000, np.float32)
    logits[5] = 1
    assert select(logits, 5000, DEFAULT).ids.tolist() == [5, *range(5), *range(6, 1024)]
    assert select(logits, 1024, HIGHER_ID).ids.tolist() == [5, *range(2999, 1976, -1)]


def test_division_and_reciprocal_differ() -> None:
    """SA-3: (l - l_max) / T against (l - l_max) * (1 / T), both in float32; here -7 / 3 differs in the last bit."""
    selection = select(array(0, -7), 2, DEFAULT)
    divided = float(np.float32(-7) / np.float32(3))
    multiplied = f32(-7 * f32(1 / 3))
    assert divided != multiplied
    for profile, scaled in ((DEFAULT, divided), (RECIPROCAL, multiplied)):
        # The exponential is monotonic and steep enough here to tell both arguments apart in float64.
        weight = float(weigh(selection, np.float32(3), profile).weights[1])
        assert abs(weight - math.exp(scaled)) < 2.0**-24 * math.exp(scaled)


def test_weights_are_relative_to_the_first_retained() -> None:
    """SA-3: the best logit weighs 1, whatever its size; differences that overflow weigh 0."""
    result = weigh(select(array(3e38, -3e38, 3e38), 3, DEFAULT), np.float32(1), DEFAULT)
    assert result.weights.tolist() == [1, 1, 0]
    assert result.total == 2


@pytest.mark.parametrize(
    ("profile", "total"), [(DEFAULT, 1.0), (RECIPROCAL, NAN)], ids=["divide", "multiply by the reciprocal"]
)
def test_subnormal_temperature(profile: Profile, total: float) -> None:
    """SA-3, SA-4: 0 / tiny is 0 and weighs 1; 1 / tiny is infinite, times 0 it is NaN: greedy without a draw."""
    logits = array(1, 3, 2)
    result = weigh(select(logits, 3, profile), np.float32(TINY), profile)
    assert result.total == total or (math.isnan(result.total) and math.isnan(total))
    choice = choose(logits, profile=profile, temperature=TINY)
    assert choice.token == 1
    assert (choice.drawn is None) is math.isnan(total)


@pytest.mark.parametrize(
    ("logits", "token"),
    [([NAN, NAN, NAN], 0), ([1, INF, 2], 1), ([1, INF, INF], 1), ([-INF, -INF], 0), ([NAN, -INF], 0), ([INF, NAN], 0)],
)
def test_greedy_when_no_total(logits: list[float], token: int) -> None:
    """SA-4, SA-1: nothing retained, or a total that is not finite: greedy, and the generator does not advance."""
    choice = choose(array(*logits), state=99)
    assert (choice.token, choice.generator_state, choice.drawn) == (token, 99, None)
    assert "total" in choice.greedy_reason or "retained" in choice.greedy_reason


@pytest.mark.parametrize(
    ("weights", "usable"), [([3e38, 3e38], False), ([NAN], False), ([0.0, 0.0], False), ([TINY], True), ([1.0], True)]
)
def test_usable_totals(weights: list[float], usable: bool) -> None:
    """SA-4: a total must be finite and above 0; a sum that overflows float32 is not."""
    with np.errstate(over="ignore"):
        assert weighing(*weights).usable is usable


def test_one_infinite_logit_among_finite_ones() -> None:
    """SA-3, SA-4: the infinite logit's own distance is NaN, so the draw is not made and greedy takes it."""
    assert choose(array(0, INF, 0), state=7).greedy_reason


@pytest.mark.parametrize("count", [1, 1023])
def test_sums_are_float32_in_retained_order(count: int) -> None:
    """SA-4, SA-5: weights below half an ulp of 1 vanish one by one, however many there are."""
    logits = array(0, *[-17.5] * count)
    assert math.exp(-17.5) < 2.0**-24.5
    for state in range(1, 60):
        choice = choose(logits, state=state)
        assert choice.drawn is not None
        assert (choice.token, choice.drawn.cut.kept, float(choice.drawn.weighing.total)) == (0, 1, 1.0)


@pytest.mark.parametrize(
    ("weights", "top_p", "kept", "kept_if_dropped"),
    [
        ([1, 1, 1, 1], 0.25, 1, 1),
        ([1, 1, 1, 1], 0.5, 2, 1),
        ([1, 1, 1, 1], f32(0.5 + 2.0**-24), 3, 2),
        ([1, 1, 1, 1], f32(0.5 - 2.0**-25), 2, 1),
        ([1, 1, 1, 1], 1.0, 4, 3),
        ([1, 1, 1, 1], TINY, 1, 1),
        ([1], 1.0, 1, 1),
        ([1, 0.5, 0, 0], 1.0, 2, 1),
        ([1, 0, 0], 1.0, 1, 1),
        ([0.5, 0.25, 0.125, 0.125], 0.75, 2, 1),
        ([0.5, 0.25, 0.125, 0.125], 0.8, 3, 2),
    ],
)
def test_top_p(weights: list[float], top_p: float, kept: int, kept_if_dropped: int) -> None:
    """SA-5, CL-sampler: the shortest prefix that reaches top_p * total; the other option drops its last candidate."""
    candidates = weighing(*weights)
    for profile, expected in ((DEFAULT, kept), (DROP, kept_if_dropped)):
        result = cut(candidates, np.float32(top_p), profile)
        assert result.kept == expected
        assert result.mass == np.float32(sum(weights[:expected]))
        assert result.threshold == np.float32(top_p * sum(weights))


@pytest.mark.parametrize(
    ("weights", "coin", "index", "index_at_most"),
    [
        ([1, 1], 0.0, 0, 0),
        ([1, 1], f32(0.5 - 2.0**-25), 0, 0),
        ([1, 1], 0.5, 1, 0),
        ([1, 1], 1 - 2.0**-24, 1, 1),
        ([1, 1], 1.0, 1, 1),
        ([1], 1.0, 0, 0),
        ([0.5, 0.25, 0.25], 0.5, 1, 0),
        ([0.5, 0.25, 0.25], 0.75, 2, 1),
        ([0, 1], 0.0, 1, 0),
    ],
)
def test_draw(weights: list[float], coin: float, index: int, index_at_most: int) -> None:
    """SA-6, PR-3: the first candidate with r < sum (or <=) wins; a coin of 1 takes the last kept one."""
    candidates = weighing(*weights)
    kept = cut(candidates, np.float32(1), DEFAULT)
    for profile, expected in ((DEFAULT, index), (AT_MOST, index_at_most)):
        result = pick(candidates, kept, np.float32(coin), profile)
        assert result.index == expected
        assert result.point == np.float32(coin * sum(weights))


def test_draw_is_scaled_by_the_kept_mass() -> None:
    """SA-5, SA-6: after a cut at half, a coin near 1 takes the last kept candidate, not a dropped one."""
    candidates = weighing(1, 1, 1, 1)
    kept = cut(candidates, np.float32(0.5), DEFAULT)
    assert pick(candidates, kept, np.float32(1 - 2.0**-24), DEFAULT).index == 1
    assert pick(candidates, kept, np.float32(0.5), DEFAULT).index == 1
    assert pick(candidates, kept, np.float32(0.4999), DEFAULT).index == 0


def test_choice_tells_what_every_stage_saw() -> None:
    """SA-2 to SA-6, PR-1, PR-3: the stages of one drawn token, each number by hand."""
    (output,) = outputs(5, 1)
    choice = choose(array(0, 0, 0, -INF), state=5, top_p=0.6)
    drawn = choice.drawn
    assert drawn is not None
    assert (choice.selection, choice.weighing) == (drawn.selection, drawn.weighing)
    assert drawn.selection.ids.tolist() == [0, 1, 2, 3]
    assert drawn.weighing.weights.tolist() == [1, 1, 1, 0]
    assert drawn.weighing.cumulative.tolist() == [1, 2, 3, 3]
    assert (drawn.cut.kept, float(drawn.cut.mass)) == (2, 2.0)
    assert float(drawn.cut.threshold) == f32(f32(0.6) * 3)
    assert (drawn.draw.before, drawn.draw.after, drawn.draw.output) == (5, output, output)
    assert float(drawn.pick.point) == 2 * unit(output)
    assert choice.token == drawn.pick.index == int(2 * unit(output))
    assert choice.generator_state == output
    assert choice.greedy_reason == ""


def test_sampling_changes_nothing() -> None:
    """SA-1 to SA-6: logits that cannot be written work, are the same afterwards, and give the same answer again."""
    logits = np.random.default_rng(1).normal(0, 2, 500).astype(np.float32)
    logits[7] = NAN
    before = logits.tobytes()
    logits.flags.writeable = False
    config = SamplingConfig.validated(0.8, 40, 0.9, 3)
    first = sample(logits, config, 12345, DEFAULT)
    again = sample(logits, config, 12345, DEFAULT)
    assert (first.token, first.generator_state) == (again.token, again.generator_state)
    assert logits.tobytes() == before
    assert config == SamplingConfig.validated(0.8, 40, 0.9, 3)
    assert first.selection is not None
    assert not np.shares_memory(first.selection.logits, logits)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.top_k = 2  # type: ignore[misc]


def test_sampling_warns_about_nothing() -> None:
    """SA-3, SA-4: strange logits and a NumPy that raises on every event change nothing."""
    strange = array(3e38, -3e38, INF, -INF, NAN, TINY, -0.0)
    with np.errstate(all="raise"):
        for temperature in (TINY, 1.0, 3.4e38):
            for profile in (DEFAULT, RECIPROCAL):
                choose(strange, profile=profile, temperature=temperature)
                choose(strange[[0, 1, 5, 6]], profile=profile, temperature=temperature, top_p=TINY)


def test_top_k_one_still_draws() -> None:
    """SA-2, SA-4, NT-4: with one candidate the answer is fixed, but the generator advances at temperature > 0."""
    host = Host(Profile(sampling_config_reseeds="no"), model=table_model({}, otherwise={48: 1.0, 49: 1.0}, capacity=64))
    assert host.generate(b"?", 1) == 0
    assert host.abi.set_sampling_config(1.0, 1, 1.0, 1) == 0
    for _ in range(3):
        assert host.abi.generate_next_token() == 0
        assert host.result == b"0"
    assert host.abi.set_sampling_config(1.0, 2, 1.0, 1) == 0
    texts = []
    for _ in range(20):
        assert host.abi.generate_next_token() == 0
        texts.append(host.result)
    assert texts == [b"0" if unit(output) < 0.5 else b"1" for output in outputs(1, 23)[3:]]


@pytest.mark.parametrize(("top_k", "expected"), [(1, b"c"), (2, b"ca"), (3, b"cab"), (1024, b"cab")])
def test_top_k_through_the_exports(top_k: int, expected: bytes) -> None:
    """SA-2: over many seeds exactly the retained candidates appear; equal logits at the cut go by id."""
    model = table_model({}, otherwise={ord("a"): 1.0, ord("b"): 1.0, ord("c"): 1.5})
    host = Host(model=model)
    seen = set()
    for seed in range(1, 80):
        # Small seeds begin with small coins, so their bits are spread over the whole word.
        assert host.abi.set_sampling_config(1.0, top_k, 1.0, seed * 0x9E3779B97F4A7C15) == 0
        assert host.generate(b"?", 1) == 0
        seen.add(host.result)
    assert b"".join(sorted(seen)) == bytes(sorted(expected))
