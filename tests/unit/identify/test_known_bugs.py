"""A known fault is named through whatever form a build's documents have, and puts no other rule in doubt (ID-3)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from refruntime.cases.observe import StepRunner
from refruntime.client import Client
from refruntime.contract.dialect import Dialect
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.differential.run import Oracle
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.hypothesis import varied_engine
from refruntime.identify.ask import designed_experiments
from refruntime.identify.bugs import known_bugs, unexplained_bugs
from refruntime.identify.elimination import Survivors
from refruntime.identify.prediction import Predictions
from refruntime.identify.reading import SWITCHES
from refruntime.identify.resolve import without_doubted
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.texts import Translation
from refruntime.identify.trial import Trials
from refruntime.numerics import CompiledSeq32

BASE = Profile()
BUILT = replace(BASE, unit_conversion="53 high bits", weights="normalised")
ASKED = ("identify/hot-1e38", "identify/unit-")
OPEN = "unit_conversion"
FORMS = {
    "contract": (),
    "without logits": (("top_tokens.form", "as=ids"), ("prompt_tokens", "prompt")),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_fault_is_named_and_another_option_stays(form: str) -> None:
    """SA-5, PR-3: sums in float64 contradict experiments on the draw too; the draw's option is learnt all the same."""
    fault = next(item for item in catalogue(BUILT) if item.name == "top-p-float64")
    numerics = CompiledSeq32(1)
    translation = Translation(Dialect.of(DIAGNOSTIC_NAMES, FORMS[form]))
    predictions = Predictions(BASE, numerics)
    settled = {name: (getattr(BUILT, name),) for name in SWITCHES}  # as other experiments settle them
    settlement = Settlement(predictions, translation, frozenset(DIAGNOSTIC_NAMES), Survivors(settled))
    for case in designed_experiments():
        if case.name.startswith(ASKED):
            engine = varied_engine(fault.changes, Oracle(BUILT, numerics))
            session = StepRunner(Client(engine), BASE, case.models)
            answers = [translation.project(session.run(step)) for step in case.steps]
            settlement.take(Experiment(case, answers))
    assert settlement.contradicted
    trials = Trials(settlement, numerics, predictions.bind)
    turned = settlement.best()
    known = known_bugs(settlement, trials, replace(BASE, **turned), settlement.offered)
    explained = {name for bug in known for name in bug.cases}
    choices = without_doubted(settlement, trials, BASE, turned, explained)
    assert [bug.rule for bug in known] == ["SA-5"]
    assert not unexplained_bugs(settlement, trials, replace(BASE, **choices), known)
    assert choices[OPEN] == BUILT.unit_conversion
    assert without_doubted(settlement, trials, BASE, turned, ())[OPEN] == BASE.unit_conversion  # what explains matters
