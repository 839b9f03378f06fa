"""The package against the float64 second opinions on random models of every architecture, and controls."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import pytest

from refruntime import open_model
from refruntime.contract.profile import Profile
from refruntime.errors import InvalidHeader, ShapeMismatch
from refruntime.model.architectures import ARCHITECTURES
from refruntime.trace import Event, TensorEvent
from tests.second_opinion.float64_blocks import Array, Opinion, Weights, gelu_erf, read_weights
from tests.second_opinion.float64_expert_models import gpt_oss
from tests.second_opinion.float64_layer_norm_models import gptneox
from tests.second_opinion.float64_rms_models import phi3
from tests.second_opinion.float64_zoo import FORWARD, forward
from tests.second_opinion.random_gemma4 import split_gates
from tests.second_opinion.random_recurrent_models import add_drafting, fuse_gates
from tests.second_opinion.random_zoo import DEEP, NAMES, UNSUPPORTED, make, recipe
from tests.second_opinion.zoo_controls import CONTROLS, Control

SEEDS = (1, 2)
LENGTH = 40
NOISE = {"f64": 1e-9, "seq32": 1e-4}
"""A float64 and a float32 implementation that are right differ from the float64 opinion by less than this."""


class Residuals:
    """Collect the residual stream after every layer from trace events, whole or in pieces: {layer: [T, H]}."""

    def __init__(self) -> None:
        self.layers: dict[int, Array] = {}

    def event(self, event: Event) -> None:
        if isinstance(event, TensorEvent) and event.name.endswith(".residual"):
            layer = int(event.name.split(".")[1])
            values = np.asarray(event.values(), dtype=np.float64).reshape(-1, event.shape[-1])
            rows = self.layers.setdefault(layer, np.full((LENGTH, event.shape[-1]), np.nan))
            rows[event.position : event.position + len(values)] = values


def tokens_for(seed: int, vocabulary: int) -> list[int]:
    """Return BOS and random ids, some of them more than once."""
    return [1, *np.random.default_rng(seed).integers(3, vocabulary, LENGTH - 1).tolist()]


@dataclass(frozen=True)
class Case:
    """A random model with the ids that it reads and the opinion about them."""

    weights: Weights
    tokens: list[int]
    opinion: Opinion


@pytest.fixture(scope="module")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Case]:
    """Return the case of a name and a seed."""
    folder = tmp_path_factory.mktemp("random_zoo")

    @cache
    def case(name: str, seed: int) -> Case:
        path = folder / f"{name}-{seed}.gguf"
        path.write_bytes(make(name, seed))
        weights = read_weights(path)
        tokens = tokens_for(seed, len(weights["token_embd.weight"]))
        return Case(weights, tokens, forward(weights, tokens))

    return case


@pytest.fixture(scope="module")
def float64_logits(case_of: Callable[[str, int], Case]) -> Callable[[str], Array]:
    """Return the package's float64 logits of a model, first seed."""

    @cache
    def logits(name: str) -> Array:
        return open_model(make(name, SEEDS[0]), numerics="f64").logits(case_of(name, SEEDS[0]).tokens)

    return logits


@pytest.mark.parametrize("seed", [SEEDS[0], *(pytest.param(seed, marks=pytest.mark.slow) for seed in SEEDS[1:])])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("numerics", NOISE)
def test_package_equals_second_opinion(
    name: str, seed: int, numerics: str, case_of: Callable[[str, int], Case]
) -> None:
    """FW-2, GG-4, GG-8: logits of every position and the residual stream after every layer, every architecture."""
    case = case_of(name, seed)
    residuals = Residuals()
    logits = open_model(make(name, seed), numerics=numerics).logits(case.tokens, tracer=residuals)
    assert logits.shape == case.opinion.logits.shape
    assert list(residuals.layers) == list(range(len(case.opinion.residuals) - 1))
    for layer, expected in enumerate(case.opinion.residuals[1:]):
        assert np.abs(residuals.layers[layer] - expected).max() < NOISE[numerics], f"layer {layer}"
    assert np.abs(logits - case.opinion.logits).max() < NOISE[numerics]


@pytest.mark.parametrize("name", sorted(DEEP))
def test_deep_models_equal_second_opinion(name: str, case_of: Callable[[str, int], Case]) -> None:
    """FW-2, GG-14: exaone4 with 64 layers has windows; one position fewer or more is noticed."""
    case = case_of(name, SEEDS[0])
    for numerics, noise in NOISE.items():
        found = open_model(make(name, SEEDS[0]), numerics=numerics).logits(case.tokens)
        assert np.abs(found - case.opinion.logits).max() < noise
    for window in (6, 8, LENGTH):
        other = replace(case.weights, metadata={**case.weights.metadata, "exaone4.attention.sliding_window": window})
        assert np.abs(forward(other, case.tokens).logits - case.opinion.logits).max() > 10 * NOISE["seq32"]


@pytest.mark.parametrize(
    ("name", "setting", "formulas"),
    [
        ("gptneox", Profile(gguf_gptneox_gelu="erf"), partial(gptneox, activation=gelu_erf)),
        ("phi3-window", Profile(gguf_phi3_window="applied"), partial(phi3, window=True)),
        ("gpt-oss-yarn", Profile(gguf_gpt_oss_yarn_range="exact"), partial(gpt_oss, whole_pairs=False)),
    ],
)
def test_settings_where_other_software_disagrees(
    name: str, setting: Profile, formulas: Callable[[Weights, list[int]], Opinion], case_of: Callable[[str, int], Case]
) -> None:
    """GG-12, GG-15: gptneox with the erf form of GELU, phi3 with its window, gpt-oss with YaRN's exact range."""
    case = case_of(name, SEEDS[0])
    expected = formulas(case.weights, case.tokens).logits
    for numerics, noise in NOISE.items():
        found = open_model(make(name, SEEDS[0]), setting, numerics).logits(case.tokens)
        assert np.abs(found - expected).max() < noise
        assert np.abs(found - case.opinion.logits).max() > 10 * NOISE["seq32"]


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: f"{control.model}: {control.wrong}")
def test_comparison_notices_one_wrong_formula(
    control: Control,
    case_of: Callable[[str, int], Case],
    float64_logits: Callable[[str], Array],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """FW-2, GG-8: with one thing wrong in the second opinion the comparison fails, tenfold even in float32."""
    case = case_of(control.model, SEEDS[0])
    formulas = FORWARD[control.like or case.weights.architecture]
    for name, wrong in control.blocks.items():
        monkeypatch.setattr(sys.modules[formulas.__module__], name, wrong)
    wrong_logits = formulas(control.altered(case.weights), case.tokens).logits
    assert np.abs(float64_logits(control.model) - wrong_logits).max() > 10 * NOISE["seq32"]


@pytest.mark.parametrize("name", ["llama-biased", "phi2", "qwen2", "starcoder2"])
def test_fused_projections_equal_separate_ones(name: str, case_of: Callable[[str, int], Case]) -> None:
    """GG-4, GG-8: q, k, v in one matrix, as older files have them, give the same logits."""
    case = case_of(name, SEEDS[0])
    fused = recipe(name, SEEDS[0])
    fused.fuse_attention()
    found = open_model(fused.file(), numerics="f64").logits(case.tokens)
    assert np.abs(found - case.opinion.logits).max() < NOISE["f64"]


def test_gates_in_stacks_of_their_own_equal_fused_ones(case_of: Callable[[str, int], Case]) -> None:
    """GG-14: gate and up of gemma4's experts in one stack or two give the same logits."""
    made = recipe("gemma4-experts", SEEDS[0])
    split_gates(made)
    case = case_of("gemma4-experts", SEEDS[0])
    found = open_model(made.file(), numerics="f64").logits(case.tokens)
    assert np.abs(found - case.opinion.logits).max() < NOISE["f64"]


@pytest.mark.parametrize("name", ["qwen35", "qwen35-listed", "qwen35moe"])
def test_a_layer_that_drafts_is_left_out(name: str) -> None:
    """GG-15: a file with one gives the same bits as without; what is no part of such a layer is refused by name."""
    tokens = [1, *range(40, 60)]
    made = recipe(name, SEEDS[0])
    add_drafting(made)
    model = open_model(made.file())
    assert model.hyperparameters.layer_count == made.layers
    assert np.array_equal(model.logits(tokens), open_model(make(name, SEEDS[0])).logits(tokens))
    wrong = f"blk.{made.layers + 1}.attn_norm.weight"
    made.tensors[wrong] = made.tensors["blk.0.attn_norm.weight"]
    with pytest.raises(ShapeMismatch, match=wrong):
        open_model(made.file())
    del made.tensors[wrong]
    made.keys(nextn_predict_layers=made.layers + 1)
    with pytest.raises(InvalidHeader, match="nextn_predict_layers"):
        open_model(made.file())


def test_gates_in_one_stack_equal_those_in_two(case_of: Callable[[str, int], Case]) -> None:
    """GG-15: gate and up of qwen35moe's experts in two stacks or one give the same logits."""
    made = recipe("qwen35moe", SEEDS[0])
    fuse_gates(made)
    case = case_of("qwen35moe", SEEDS[0])
    found = open_model(made.file(), numerics="f64").logits(case.tokens)
    assert np.abs(found - case.opinion.logits).max() < NOISE["f64"]


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_is_refused(name: str) -> None:
    """GG-4: a model with a tensor that the package would leave out of the arithmetic is refused, and says which."""
    with pytest.raises(ShapeMismatch, match=UNSUPPORTED[name]):
        open_model(make(name, SEEDS[0]))


def test_every_architecture_has_models_and_controls() -> None:
    """GG-4: whatever architecture the package knows has a second opinion, a random model and a negative control."""
    modelled = {name for name in NAMES if name in FORWARD}
    controlled = {control.model for control in CONTROLS}
    assert set(ARCHITECTURES) == set(FORWARD) == modelled
    assert controlled == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_random_models_are_lively(name: str, case_of: Callable[[str, int], Case]) -> None:
    """GG-8: equal seeds give equal bytes, others another model; logits differ enough for a comparison to mean much."""
    assert make(name, SEEDS[0]) == recipe(name, SEEDS[0]).file() != make(name, SEEDS[1])
    assert 1.5 < case_of(name, SEEDS[0]).opinion.logits.std() < 4
