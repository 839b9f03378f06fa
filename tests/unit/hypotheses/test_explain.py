"""Explanations: which single change of the oracle answers every step as a build did, and what it changes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from refruntime.battery.generate import PROMPT, probe
from refruntime.battery.models.slm1 import Shape, random_model, story_model
from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, RESET, Case, Configure, Generate, Load
from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile
from refruntime.contract.rules import load_contract
from refruntime.differential.run import Oracle, PairRun, run_pair
from refruntime.differential.suite import Explainer as ExplainerProtocol
from refruntime.engines.base import Engine
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.explain import Explainer, explain, relevant
from refruntime.hypotheses.faults import arithmetic, attention, dots, weights
from refruntime.hypotheses.hypothesis import Hypothesis, varied_engine
from refruntime.hypotheses.observed import WitnessedTensor
from refruntime.numerics import F64, CompiledSeq32, Seq32
from refruntime.numerics.base import Array
from tests.support.builds import changed_build

PROFILE = Profile()
ORACLE = Oracle(PROFILE)
BY_NAME = {hypothesis.name: hypothesis for hypothesis in catalogue(PROFILE)}
SHAPE = Shape(hidden=16, layers=2, heads=2, ffn=16, capacity=24, theta=500.0, epsilon=0.01)
MODELS = {
    "f32": random_model(1, SHAPE, profile=PROFILE),
    "q8_0": random_model(2, SHAPE, DType.Q8_0, profile=PROFILE),
    "q4_0": random_model(3, SHAPE, DType.Q4_0, block_size=8, profile=PROFILE),
}


def numbers_case(model: str = "f32") -> Case:
    steps = (INIT, Load("m"), probe(260), Generate(PROMPT[:6], 1), NEXT_TOKEN, NEXT_TOKEN)
    return Case(f"generate/{model}", steps, {"m": MODELS[model]})


def state_case() -> Case:
    steps = (INIT, Load("m"), Configure(0.5, 40, 0.9, 3), Generate(b"a", 3), RESET, NEXT_TOKEN, Generate(b"e", 2), FREE)
    return Case("state/story", steps, {"m": story_model(PROFILE)})


def build_of(hypothesis: Hypothesis) -> Engine:
    return varied_engine(hypothesis.changes, ORACLE)


def run_on(build: Engine, case: Case) -> PairRun:
    return run_pair(case, build, ORACLE.engine(), PROFILE)


def test_names_are_unique_and_every_hypothesis_says_what_it_breaks() -> None:
    """A hypothesis is data: a name of its own, a sentence, and a rule of the contract."""
    rules = load_contract().rules
    everything = catalogue(PROFILE)
    assert len({item.name for item in everything}) == len(everything) > 150
    for item in everything:
        assert item.text, item.name
        assert item.rule in rules, item.name
        changed = [name for name, value in vars(item.changes).items() if value is not None]
        assert len(changed) == 1, f"{item.name} changes {changed}: one hypothesis, one override"


def test_options_are_those_of_the_profile() -> None:
    """Every option of every switch is a hypothesis."""
    wanted = {(switch.key, option) for switch in Profile.switches() for option in switch.options[1:]}
    assert {item.option for item in BY_NAME.values() if item.family == "option"} == wanted


# Sums by hand --------------------------------------------------------------------------------------------------------

BIG = 2.0**24
SUMS = {
    # In float32 2^24 + 1 is 2^24 and 2^24 + 2 is exact; the comment is the sum that the order gives.
    "dot-reversed": ([BIG, 1.0, 1.0], BIG + 2),  # (1 + 1) + 2^24; in order both ones are lost
    "dot-four-lanes": ([1.0, BIG, 1.0, -BIG], 1.0),  # (1 + 2^24) + (1 - 2^24) = 2^24 - (2^24 - 1)
    "dot-four-lanes-halves": ([1.0, BIG, 1.0, -BIG], 2.0),  # (1 + 1) + (2^24 - 2^24)
    "dot-four-lanes-in-order": ([1.0, BIG, 1.0, -BIG], 0.0),  # ((1 + 2^24) + 1) - 2^24
    "dot-two-lanes": ([BIG, 1.0, -BIG, 1.0], 2.0),  # (2^24 - 2^24) + (1 + 1)
    "dot-pairwise": ([BIG, 1.0, 1.0], BIG + 2),  # 2^24 + (1 + 1)
    "dot-unrolled": ([1.0, BIG, 1.0, -BIG], 0.0),  # ((1 + 2^24) + 1) - 2^24
    "dot-float64-sum": ([BIG, 1.0, -BIG], 1.0),
    "dot-float64": ([BIG, 1.0, -BIG], 1.0),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_are_those_made_by_hand(name: str) -> None:
    """FW-4: each way to add gives the sum that its order gives on paper."""
    terms, wanted = SUMS[name]
    numerics = BY_NAME[name].changes.numerics
    assert numerics is not None
    column = np.array(terms, np.float32)[:, None]  # [in, 1]
    ones = np.ones((1, len(terms)), np.float32)  # [1, in]
    assert float(numerics().project(np.hstack([column, column]), ones)[0, 0]) == wanted


def test_a_fused_product_is_rounded_once() -> None:
    """FW-4: (1 + 2^-12)^2 - 1 keeps the 2^-24 that a rounded product loses."""
    numerics = BY_NAME["dot-fused"].changes.numerics
    assert numerics is not None
    factor = np.float32(1 + 2**-12)
    matrix = np.array([[-1.0], [factor]], np.float32)
    x = np.array([[1.0, factor]], np.float32)
    assert float(numerics().project(matrix, x)[0, 0]) == 2**-11 + 2**-24
    assert float(CompiledSeq32(1).project(np.hstack([matrix, matrix]), x)[0, 0]) == 2**-11


# No hypothesis is empty ----------------------------------------------------------------------------------------------


def forward_hypotheses() -> Iterator[Hypothesis]:
    # On a model without grouped heads, factors or GGUF tensors these change nothing; mutants of the guest show them.
    silent = {"kv-heads-modulo", "rope-factors-ignored", "rope-factors-multiplied"}
    # The last bit of a libm function need not reach a logit of a model this small.
    rare = {"power-rounded", "angles-rounded", "exp-rounded"}
    for item in (*attention.FAULTS, *weights.FAULTS, *arithmetic.FAULTS, *dots.FAULTS):
        if item.name not in silent | rare:
            yield item


@pytest.mark.parametrize("hypothesis", tuple(forward_hypotheses()), ids=lambda item: item.name)
def test_every_forward_hypothesis_changes_a_number(hypothesis: Hypothesis) -> None:
    """DG-4: a build that does this differs in the logits of some model, and the explanation contains it."""
    for model in MODELS:
        run = run_on(build_of(hypothesis), numbers_case(model))
        if run.comparison.first is not None:
            explanation = Explainer(ORACLE, hypotheses=(hypothesis,))(run)
            assert explanation is not None
            assert [attempt.hypothesis.name for attempt in explanation.fits] == [hypothesis.name]
            return
    pytest.fail(f"no model shows {hypothesis.name}")


# Explanations --------------------------------------------------------------------------------------------------------


def test_an_equal_build_needs_no_explanation() -> None:
    """Without a difference there is nothing to explain."""
    assert explain(run_on(ORACLE.engine(), numbers_case()), ORACLE) is None


def test_the_first_changed_value_is_named() -> None:
    """FW-6: a wrong attention scale shows first in the scores of the first layer, and explains every step."""
    run = run_on(build_of(BY_NAME["scale-hidden"]), numbers_case())
    explanation = explain(run, ORACLE)
    assert explanation is not None
    assert explanation.first == "blk.0.attn.scores"
    assert [attempt.hypothesis.name for attempt in explanation.fits] == ["scale-hidden"]
    text = dict(explanation.lines)
    assert text["first"].startswith("blk.0.attn.scores differs if the attention scale is 1/sqrt(H)")
    assert "(explains 6 of 6 steps)" in text["first"]
    assert text["rule"] == "FW-6"
    assert explanation.gap is None
    assert explanation.error is not None
    assert explanation.error.margin > 10 * explanation.error.band > 0


def test_a_sampler_fault_is_found_in_its_stage() -> None:
    """SA-3: a build that multiplies by the temperature differs first in the weights."""
    case = replace(numbers_case(), steps=(INIT, Load("m"), Configure(0.5, 260, 1.0, 7), Generate(b"ab", 8)))
    explanation = explain(run_on(build_of(BY_NAME["temperature-multiplied"]), case), ORACLE)
    assert explanation is not None
    assert explanation.fits[0].hypothesis.name == "temperature-multiplied"
    assert explanation.first == "sampler weighing"


def test_an_option_is_a_gap() -> None:
    """ERR-4, ST-5: another option of a declared rule is a gap in the contract, not a fault."""
    build = changed_build(replace(PROFILE, reset_result="unchanged"))
    explanation = explain(run_on(build(), state_case()), ORACLE)
    assert explanation is not None
    assert explanation.gap == "ST-5 = unchanged"
    assert explanation.document()["fits"][0]["option"] == ["ST-5", "unchanged"]


class _Nonsense(Seq32):
    """Arithmetic that no hypothesis describes."""

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        normal: Array = super().rms_norm(x, weight, epsilon) * np.float32(1.0625)
        return normal


def test_what_no_hypothesis_explains_is_left_open() -> None:
    """An explanation is never guessed: without a fit there is no name, no gap, and no line that says otherwise."""
    explanation = explain(run_on(changed_build(numerics=_Nonsense())(), numbers_case()), ORACLE)
    assert explanation is not None
    assert explanation.fits == ()
    assert explanation.gap is None
    assert explanation.first is None
    assert not {"first", "or", "rule"} & {label for label, _ in explanation.lines}
    assert explanation.error is not None


def test_cases_are_counted_together() -> None:
    """A hypothesis that explains one case is held against all others that diverged."""
    explainer, counts = Explainer(ORACLE), []
    for model in MODELS:
        explanation = explainer(run_on(build_of(BY_NAME["rope-halves"]), numbers_case(model)))
        counts.append(explanation.evidence[0] if explanation is not None else None)
    assert counts == [(1, 1), (2, 2), (3, 3)]
    cause = explainer.causes()[0]
    assert (cause.hypothesis.name, cause.explained, cause.cases) == ("rope-halves", 3, 3)


def _told(seen: WitnessedTensor, _run: PairRun) -> WitnessedTensor:
    return seen


def test_what_was_seen_in_the_build_comes_first_and_excludes_nothing() -> None:
    """FW-5: hypotheses about a wrong tensor are tried first; where none of them fits, all others are tried, too."""
    run = run_on(build_of(BY_NAME["rope-halves"]), numbers_case())
    for tensor, kept in (("blk.0.attn_q.rope", True), ("sampler.weights", False)):
        seen = WitnessedTensor(tensor, 1, "differs", "all of them differ")
        explanation = Explainer(ORACLE, witness=partial(_told, seen))(run)
        assert explanation is not None
        assert [each.hypothesis.name for each in explanation.fits] == ["rope-halves"]
        assert (explanation.observed is seen) == kept
        assert (explanation.tried < len(catalogue(PROFILE)) // 2) == kept


def test_vain_searches_end() -> None:
    """A build that nothing explains costs a bounded number of full searches."""
    explainer = Explainer(ORACLE, searches=1)
    build: Callable[[], Engine] = changed_build(numerics=_Nonsense())
    for model in MODELS:
        explainer(run_on(build(), numbers_case(model)))
    assert explainer.searches == 0
    assert {len(tried) for tried in explainer.attempts.values()} == {1}


def test_nothing_of_a_forward_pass_before_there_is_one() -> None:
    """A difference in load_model is not explained by arithmetic."""
    build = changed_build(replace(PROFILE, checksum="not verified"))
    broken = bytearray(MODELS["f32"])
    broken[-1] ^= 1
    run = run_on(build(), replace(numbers_case(), models={"m": bytes(broken)}))
    assert run.comparison.matched == 1
    assert not any(item.forwards for item in relevant(catalogue(PROFILE), run))
    explanation = explain(run, ORACLE)
    assert explanation is not None
    assert explanation.gap == "SL-5.verify = not verified"


def test_another_token_of_the_same_logits_is_no_matter_of_the_forward_pass() -> None:
    """PR-2, DG-8: one token from logits that agree tells of the sampler; several may come from other logits between."""
    steps = (INIT, Load("m"), Configure(1.0, 40, 1.0, 7), Generate(b"ab", 1), *[NEXT_TOKEN] * 4)
    single = replace(numbers_case(), steps=steps)
    several = replace(single, steps=(*steps[:3], Generate(b"ab", 8)))
    build = BY_NAME["draw-low-bits"]
    one, many = (run_on(build_of(build), case) for case in (single, several))
    assert one.comparison.first is not None
    assert {item.family for item in relevant(catalogue(PROFILE), one) if item.forwards} == {"sampler"}
    assert any(item.changes_logits for item in relevant(catalogue(PROFILE), many))
    shown = run_on(build_of(BY_NAME["rope-halves"]), replace(single, steps=(*steps[:2], Generate(b"abcd", 1))))
    assert any(item.changes_logits for item in relevant(catalogue(PROFILE), shown))
    explanation = explain(one, ORACLE)
    assert explanation is not None
    assert build.name in {fit.hypothesis.name for fit in explanation.fits}


def test_the_suite_takes_an_explainer() -> None:
    """An explainer is what the suite expects."""
    explainer: ExplainerProtocol = Explainer(ORACLE)
    assert explainer(run_on(ORACLE.engine(), state_case())) is None


def test_ids_of_any_sequence_type_are_forwarded() -> None:
    """FW-1: the band is measured over ids in a tuple; float64 takes them as it takes a list."""
    transformer = ORACLE.bind(MODELS["f32"], PROFILE, F64()).transformer
    as_tuple = transformer.forward((256, 65, 66, 67), transformer.new_cache())
    as_list = transformer.forward([256, 65, 66, 67], transformer.new_cache())
    assert (as_tuple == as_list).all()
