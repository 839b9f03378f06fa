"""A field that alone contradicts is set aside until options are known; then it is compared, and blamed (ID-3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from refruntime.cases.steps import Case
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.differential.run import Oracle
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.hypothesis import varied_engine
from refruntime.identify import learning
from refruntime.identify.ask import designed_experiments
from refruntime.identify.asking import AskedBuild, BuildAnswer
from refruntime.identify.fields import LearntField
from refruntime.identify.learning import Learner
from refruntime.identify.prediction import Predictions
from refruntime.identify.reading import SWITCHES
from refruntime.numerics import CompiledSeq32

BASE = Profile()
ORACLE = Oracle(BASE, CompiledSeq32(1))
FIELDS = {name: LearntField(name, name, "", "observed", 1, 1) for name in DIAGNOSTIC_NAMES}
CASES = [case for case in designed_experiments() if case.name.startswith("identify/state")][:10]
SPOILT = "peak_scratch_bytes"


class Spoilt(AskedBuild):
    """A right build that shows a byte too many of scratch."""

    def answers(self, experiment: Case) -> list[BuildAnswer]:
        """Return the answers with another value of the field, where it is not 0."""
        return [
            each if not (each.document or {}).get(SPOILT) else replace(each, document=more(each.document or {}))
            for each in super().answers(experiment)
        ]


def more(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**document, SPOILT: document[SPOILT] + 1}


def learner(build: AskedBuild) -> Learner:
    """Return what asks a build little."""
    sessions = {case.name: build.answers(case) for case in CASES}
    numerics = ORACLE.numerics
    return Learner(BASE, numerics, Predictions(BASE, numerics), FIELDS, {}, sessions, CASES[:6], CASES[6:])


def test_a_field_that_alone_is_wrong_is_set_aside_and_compared_in_the_end() -> None:
    """DG-5: every session agrees without `peak_scratch_bytes`, and none in which a model is loaded with it."""
    asked = learner(Spoilt(ORACLE.engine))
    learnt = asked.learn()
    assert learnt.aside == {SPOILT}
    assert not learnt.settlement.contradicted
    compared = asked.compared(learnt, BASE)
    assert len(compared.contradicted) + len(compared.agreed) == len(CASES)
    assert len(compared.contradicted) > len(CASES) / 2


def test_sessions_are_compared_under_the_options_that_were_chosen_in_the_end() -> None:
    """ST-5: an option that is taken back later is no more what the sessions are held against."""
    asked = learner(AskedBuild(ORACLE.engine))
    learnt = asked.learn()
    assert not asked.compared(learnt, BASE).contradicted
    other = replace(BASE, reset_result=next(each for each in SWITCHES["reset_result"] if each != BASE.reset_result))
    assert asked.compared(learnt, other).contradicted


def test_nothing_is_set_aside_where_more_than_one_field_is_wrong_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """ST-5: the controls: a right build, and a reset that leaves several fields as they were."""
    assert not learner(AskedBuild(ORACLE.engine)).learn().settlement.contradicted
    changes = next(item.changes for item in catalogue(BASE) if item.name == "reset-does-nothing")
    monkeypatch.setattr(learning, "learn_behind_faults", lambda settlement, designed: None)
    learnt = learner(AskedBuild(lambda: varied_engine(changes, ORACLE))).learn()
    assert not learnt.aside
    assert learnt.settlement.contradicted
