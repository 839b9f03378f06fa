"""The sampler and the generator against section 8 written a second time, and against float64 probabilities."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime.contract import Profile
from refruntime.sampling import SamplingConfig, draw, sample
from refruntime.sampling.generator import unit_value
from tests.second_opinion.sampler_reference import Options, choose, expf, f32, outputs, unit

VECTORS = Path(__file__).resolve().parent / "vectors" / "libm" / "expf.npz"

GENERATORS = ("13,7,17", "7,9,8", "12,25,27 times 0x2545F4914F6CDD1D")
CONVERSIONS = ("24 high bits", "53 high bits", "output / 2^64")

logit_values = st.one_of(
    st.floats(-30, 30, width=32),
    st.sampled_from([0.0, -0.0, 1.0, 1.0, 2.0, 2.0, -5.0]),
    st.sampled_from([math.nan, math.inf, -math.inf, 3.0e38, -3.0e38, 2.0**-149]),
)
logit_lists = st.one_of(
    st.lists(logit_values, min_size=1, max_size=40),
    st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=40),  # many ties
    st.lists(st.floats(width=32), min_size=1, max_size=40),
)
temperatures = st.one_of(
    st.floats(0, 4, width=32),
    st.sampled_from([0.0, -0.0, 1.0, 2.0**-149, 2.0**-126, 1.0e-38, 3.4e38]).map(f32),
)
top_ps = st.one_of(
    st.floats(0, 1, width=32, exclude_min=True), st.sampled_from([1.0, 0.5, 0.25, 2.0**-149, 1 - 2.0**-24])
)
options_lists = st.builds(Options, *[st.booleans()] * len(fields(Options)))


def profile_of(options: Options) -> Profile:
    return Profile(
        equal_logits="higher id first" if options.higher_id_first else "lower id first",
        temperature_scaling="multiply by the f32 reciprocal" if options.multiply_by_reciprocal else "divide",
        top_p_crossing="drop crossing but keep one" if options.drop_crossing else "keep crossing",
        draw_comparison="<=" if options.draw_at_most else "<",
        temperature_order="temperature first" if options.temperature_first else "selection first",
        weights="normalised" if options.normalised else "as they are",
        top_p_comparison=">" if options.above_threshold else ">=",
    )


def test_reference_exponential_is_that_of_rust() -> None:
    """FW-8, SA-3: the reference's own expf has the bits that a WebAssembly module computed, wherever sampling goes."""
    with np.load(VECTORS) as vectors:
        arguments, results = vectors["x"].view(np.float32), vectors["result"].view(np.float32)
    used = (arguments <= 0) | np.isnan(arguments)
    assert used.sum() > 4000
    computed = np.array([expf(float(x)) for x in arguments[used]], np.float32)
    np.testing.assert_array_equal(computed, results[used])


@settings(max_examples=600, deadline=None)
@given(
    logit_lists,
    temperatures,
    st.one_of(st.integers(1, 8), st.sampled_from([40, 1024])),
    top_ps,
    st.integers(1, 2**64 - 1),
    options_lists,
)
def test_every_choice_agrees(
    logits: list[float], temperature: float, top_k: int, top_p: float, state: int, options: Options
) -> None:
    """SA-1 to SA-6, GEN-11: token, use of the generator and its new state agree with the reference, bit for bit."""
    (output,) = outputs(state, 1)
    expected, used = choose(logits, temperature, top_k, top_p, unit(output), options)
    config = SamplingConfig.validated(temperature, top_k, top_p, 1)
    choice = sample(np.array(logits, np.float32), config, state, profile_of(options))
    assert (choice.token, choice.drawn is not None) == (expected, used)
    assert choice.generator_state == (output if used else state)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 1024), st.floats(0.125, 1, width=32), options_lists)
def test_large_vocabularies_agree(seed: int, top_k: int, top_p: float, options: Options) -> None:
    """SA-2, SA-4, SA-5: long candidate lists, with ties at the cut, agree with the reference."""
    rng = np.random.default_rng(seed)
    logits = np.round(rng.normal(0, 2, 3000), 1).astype(np.float32)
    (output,) = outputs(seed + 1, 1)
    expected, _ = choose(logits.tolist(), 0.75, top_k, top_p, unit(output), options)
    config = SamplingConfig.validated(0.75, top_k, top_p, 1)
    assert sample(logits, config, seed + 1, profile_of(options)).token == expected


@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("seed", [1, 2, 0x9E3779B97F4A7C15, 88172645463325252, 2**63, 2**64 - 1])
def test_generator_and_coin_agree(seed: int, generator: str, conversion: str) -> None:
    """PR-1, PR-3: a thousand outputs and coins of every option agree with plain loops over big integers."""
    profile = Profile(xorshift=generator, unit_conversion=conversion)  # type: ignore[arg-type]
    state, drawn, coins = seed, [], []
    for _ in range(1000):
        step = draw(state, profile)
        assert step.before == state
        state = step.after
        drawn.append(step.output)
        coins.append(float(step.unit))
    expected = outputs(seed, 1000, generator)
    assert drawn == expected
    assert coins == [unit(output, conversion) for output in expected]


@given(st.integers(0, 2**64 - 1), st.sampled_from(CONVERSIONS))
def test_coins_agree_for_any_output(output: int, conversion: str) -> None:
    """PR-3: the coin of any output agrees, and lies in [0, 1]; only the options through float64 reach 1."""
    coin = unit_value(output, Profile(unit_conversion=conversion))  # type: ignore[arg-type]
    assert coin.dtype == np.float32
    assert float(coin) == unit(output, conversion)
    assert 0 <= coin <= 1
    assert coin < 1 or conversion != "24 high bits"


def probabilities_of(logits: list[float], temperature: float, top_k: int, top_p: float) -> dict[int, float]:
    """Return the probability of every candidate, in float64 throughout."""
    order = sorted(range(len(logits)), key=lambda token: -logits[token])[:top_k]
    scaled = [math.exp((logits[token] - logits[order[0]]) / temperature) for token in order]
    kept, mass = 0, 0.0
    while kept < len(order) and mass < top_p * math.fsum(scaled):
        mass += scaled[kept]
        kept += 1
    return {token: weight / mass for token, weight in zip(order[:kept], scaled[:kept], strict=True)}


def chi_square(counts: Counter[int], probabilities: dict[int, float]) -> tuple[float, int]:
    """Return the statistic and its degrees of freedom; candidates expected less than ten times share one cell."""
    draws = counts.total()
    statistic, cells, rare_expected, rare_seen = 0.0, 0, 0.0, 0
    for token, probability in probabilities.items():
        if draws * probability < 10:
            rare_expected += draws * probability
            rare_seen += counts[token]
            continue
        statistic += (counts[token] - draws * probability) ** 2 / (draws * probability)
        cells += 1
    if rare_expected >= 10:
        statistic += (rare_seen - rare_expected) ** 2 / rare_expected
        cells += 1
    return statistic, cells - 1


def chi_square_limit(freedom: int) -> float:
    """Return what chance exceeds once in a million: 4.75 standard deviations, after Wilson and Hilferty."""
    spread = 2 / (9 * freedom)
    limit: float = freedom * (1 - spread + 4.75 * math.sqrt(spread)) ** 3
    return limit


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [
        pytest.param(1.0, 1024, 1.0, marks=pytest.mark.slow),
        pytest.param(0.7, 12, 1.0, marks=pytest.mark.slow),
        pytest.param(1.3, 1024, 0.8, marks=pytest.mark.slow),
        (0.8, 20, 0.9),
    ],
)
def test_frequencies_follow_the_float64_distribution(temperature: float, top_k: int, top_p: float) -> None:
    """SA-3 to SA-6, PR-3: 20000 draws pass a chi-square test against float64; a temperature 10 % off would not."""
    logits = np.random.default_rng(7).normal(0, 1.5, 64).astype(np.float32)
    config = SamplingConfig.validated(temperature, top_k, top_p, 1)
    profile, state = Profile(), 0x1234567
    counts: Counter[int] = Counter()
    for _ in range(20_000):
        choice = sample(logits, config, state, profile)
        state = choice.generator_state
        counts[choice.token] += 1
    probabilities = probabilities_of(logits.tolist(), temperature, top_k, top_p)
    assert set(counts) <= set(probabilities)
    statistic, freedom = chi_square(counts, probabilities)
    assert freedom > 5
    assert statistic < chi_square_limit(freedom)
    wrong, freedom = chi_square(counts, probabilities_of(logits.tolist(), 1.1 * temperature, top_k, top_p))
    assert wrong > chi_square_limit(freedom)
