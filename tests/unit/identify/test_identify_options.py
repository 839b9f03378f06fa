"""Options of declared rules are ruled out by experiments, all at once (ID-3)."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from refruntime.contract.dialect import Dialect
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.differential.run import Oracle
from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.hypothesis import varied_engine
from refruntime.identify.asking import AskedBuild
from refruntime.identify.backwards import seeds_for
from refruntime.identify.capacity import UNLIMITED, find_capacity
from refruntime.identify.elimination import Survivors
from refruntime.identify.experiments import switch_experiments
from refruntime.identify.first_answers import chooses_otherwise
from refruntime.identify.prediction import Predictions
from refruntime.identify.reading import SWITCHES
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.texts import Translation
from refruntime.numerics import CompiledSeq32
from refruntime.numerics.base import Array
from refruntime.sampling.generator import draw
from tests.support.builds import changed_build

BASE = Profile()


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    """Share what the oracle answers to the experiments."""
    return Predictions(BASE, CompiledSeq32())


def settled(profile: Profile, predictions: Predictions) -> Settlement:
    """Return what the experiments leave of the options of an oracle under a profile that nobody was told."""
    oracle = Oracle(profile)
    settlement = Settlement(predictions, Translation(Dialect(DIAGNOSTIC_NAMES)), frozenset(DIAGNOSTIC_NAMES))
    build = AskedBuild(oracle.engine)
    for case in switch_experiments(BASE):
        answers = [answer.observation for answer in build.answers(case)]
        settlement.take(Experiment(case, answers))
    return settlement


def mixed(number: int) -> Profile:
    """Return a profile in which every switch has another than its default option, as far as it has one."""
    changes: dict[str, Any] = {
        name: options[(number + place) % len(options)] for place, (name, options) in enumerate(SWITCHES.items())
    }
    return replace(BASE, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_mixture_of_options_is_found_without_an_order(number: int, predictions: Predictions) -> None:
    """ID-3, GG-6, GG-12, GG-15: every option is found, whatever the other options are."""
    profile = mixed(number)
    settlement = settled(profile, predictions)
    assert not settlement.contradicted
    for name, left in settlement.survivors.options.items():
        assert getattr(profile, name) in left, name
    open_switches = {name for name, left in settlement.survivors.options.items() if len(left) > 1}
    hidden = set()
    if profile.generator_on_generate == "reseeded":  # what load and reset did to the generator is undone then
        hidden |= {"generator_on_load", "generator_on_reset"}
    assert open_switches <= hidden


@pytest.mark.parametrize("limit", [17, 48])
def test_the_largest_context_is_found(limit: int) -> None:
    """GG-7: the limit of a build, by a prompt that just fits and one that just does not."""
    for names in ((), (("peak_scratch_bytes", ""),)):
        build = AskedBuild(Oracle(replace(BASE, gguf_context_limit=limit)).engine)
        dialect = Dialect(tuple(name for name in DIAGNOSTIC_NAMES if name not in dict(names)))
        learnt = find_capacity(build, dialect, 64)
        assert (learnt.value, learnt.status) == (limit, "observed")
        assert [item.found for item in learnt.evidence] == ["ContextExceeded", "Ok"]
        assert len(build.asked) <= (11 if names else 5)


def test_a_wrong_tokenizer_changes_no_limit() -> None:
    """GG-7, GG-5: a build that puts no space before a text counts other tokens, and its limit is the same."""
    fault = next(item for item in catalogue(BASE) if item.name == "space-missing")
    build = AskedBuild(lambda: varied_engine(fault.changes, Oracle(replace(BASE, gguf_context_limit=48))))
    learnt = find_capacity(build, Dialect(DIAGNOSTIC_NAMES), 64)
    assert (learnt.value, learnt.status) == (48, "observed")


def test_a_build_without_a_limit_is_told() -> None:
    """GG-7, DG-5: beyond the longest prompt the scratch formula tells the limit, or that there is none."""
    for limit, found in ((UNLIMITED, UNLIMITED), (5000, 5000)):
        build = AskedBuild(Oracle(replace(BASE, gguf_context_limit=limit)).engine)
        learnt = find_capacity(build, Dialect(DIAGNOSTIC_NAMES), 64)
        assert (learnt.value, learnt.status) == (found, "observed")


def test_first_answers_tell_another_option_and_no_bug() -> None:
    """ID-3: a build that speaks as the default is identified where its first answers fit another option, only there."""
    assert chooses_otherwise(changed_build(), BASE, CompiledSeq32()) == ""
    assert chooses_otherwise(changed_build(numerics=_Louder(1, "numpy")), BASE, CompiledSeq32()) == ""
    for name in ("equal_logits", "unit_conversion", "gguf_stop_tokens"):
        changes: dict[str, Any] = {name: SWITCHES[name][-1]}
        assert "fit another option" in chooses_otherwise(changed_build(replace(BASE, **changes)), BASE, CompiledSeq32())
    assert "wrong checksum" in chooses_otherwise(
        changed_build(replace(BASE, checksum="not verified")), BASE, CompiledSeq32()
    )


class _Louder(CompiledSeq32):
    """Arithmetic that no option describes."""

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        normal: Array = super().rms_norm(x, weight, epsilon) * x.dtype.type(1.0625)
        return normal


def test_every_seed_leads_to_the_chosen_output() -> None:
    """PR-1: the generators are run backwards, each by its own inverse."""
    for output, option in product((1, 1 << 62, 2**64 - 1, 0x69A69ADFFFFFFFFF), range(3)):
        shifts = SWITCHES["xorshift"][option]
        assert draw(seeds_for(output)[option], replace(BASE, xorshift=shifts)).output == output


def test_joint_choices_are_ruled_out_jointly() -> None:
    """ID-3: an answer that ties two switches together rules out neither alone."""
    survivors = Survivors({"a": (0, 1), "b": (0, 1), "c": (0, 1)})
    survivors.add("one", [{"a": 0, "b": 1}, {"a": 1, "b": 0}])
    assert survivors.options == {"a": (0, 1), "b": (0, 1), "c": (0, 1)}
    assert survivors.nearest({"a": 1, "b": 1, "c": 1}) == {"a": 0, "b": 1, "c": 1}
    assert survivors.nearest({"a": 1, "b": 0, "c": 0}) == {"a": 1, "b": 0, "c": 0}
    survivors.add("two", [{"b": 1}])
    assert survivors.options == {"a": (0,), "b": (1,), "c": (0, 1)}
    assert survivors.nearest({"a": 1, "b": 0, "c": 0}) == {"a": 0, "b": 1, "c": 0}


def test_what_does_not_matter_is_not_kept() -> None:
    """ID-3: a switch with all of its options beside each choice of the others says nothing."""
    survivors = Survivors({"a": (0, 1), "b": (0, 1)})
    survivors.add("one", [{"a": 0, "b": 0}, {"a": 0, "b": 1}])
    assert survivors.options == {"a": (0,), "b": (0, 1)}
    assert survivors.tables == {}


def test_an_oracle_that_reads_lazily_answers_as_the_plain_one(predictions: Predictions) -> None:
    """SA-2 to SA-6, PR-1, PR-3: the lazy sampler is the contract's sampler under every profile."""
    profile = mixed(1)
    for case in list(switch_experiments(BASE))[::9]:
        build = AskedBuild(lambda: ReferenceEngine(ExportedABI(profile)))
        answers = [answer.observation for answer in build.answers(case)]
        row = {name: getattr(profile, name) for name in SWITCHES}
        found = predictions.agreeing(
            case, lambda _, name, row=row: (row[name],), lambda at, seen, all_=answers: seen == all_[at], answers
        )
        assert next(found, None) is not None, case.name
