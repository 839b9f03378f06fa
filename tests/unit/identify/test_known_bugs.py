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
from refruntime.identify import hidden
from refruntime.identify.ask import designed_experiments
from refruntime.identify.elimination import Survivors
from refruntime.identify.hidden import learn_behind_faults
from refruntime.identify.known_bugs import known_bugs
from refruntime.identify.prediction import Predictions
from refruntime.identify.reading import SWITCHES
from refruntime.identify.resolve import resolve, without_doubted
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.texts import Translation
from refruntime.identify.trial import Trials
from refruntime.identify.unexplained import unexplained_bugs
from refruntime.numerics import CompiledSeq32

BASE = Profile()
BUILT = replace(BASE, unit_conversion="53 high bits", weights="normalised")
ASKED = ("identify/hot-1e38", "identify/unit-")
OPEN = "unit_conversion"
FORMS = {
    "contract": (),
    "without logits": (("top_tokens.form", "as=ids"), ("prompt_tokens", "prompt")),
}


@pytest.mark.parametrize("form", ["contract", pytest.param("without logits", marks=pytest.mark.slow)])
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


HIDING = {
    "draw-low-bits": (
        replace(BASE, xorshift="7,9,8", zero_seed="1"),
        ("xorshift", "zero_seed"),
        ("identify/generator-1", "identify/seed-0", "identify/share-"),
    ),
    "top-p-absolute": (
        replace(BASE, weights="normalised", unit_conversion="53 high bits"),
        ("weights",),
        ("identify/share-4.1", "identify/share-27"),
    ),
}
"""Fault -> a build's options, those that it hides from experiments under the contract's oracle, and which are asked."""


MOST_WALKED = 20
"""Known faults that are tried under all options before the one of the build is found; there are some 60."""

OF_DRAWS = frozenset(switch.attribute for switch in Profile.switches() if switch.rule.startswith(("PR-", "SA-")))
"""Switches that are open in the fast test; with all of them it takes twice as long and asks the same."""


@pytest.mark.parametrize(
    ("name", "switches"),
    [
        pytest.param("top-p-absolute", OF_DRAWS, id="switches of draws"),
        *(pytest.param(name, frozenset(SWITCHES), marks=pytest.mark.slow, id=name) for name in HIDING),
    ],
)
def test_options_are_learnt_behind_a_fault(
    name: str, switches: frozenset[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PR-1 to PR-3, SA-4, SA-5: options that a fault of the draws hides show with it in the oracle."""
    explained = hidden._explained
    built, concealed, asked = HIDING[name]
    fault = next(item for item in catalogue(built) if item.name == name)
    numerics = CompiledSeq32(1)
    translation = Translation(Dialect.of(DIAGNOSTIC_NAMES, ()))
    settlement = Settlement(Predictions(BASE, numerics, switches), translation, frozenset(DIAGNOSTIC_NAMES))
    for case in designed_experiments():
        if case.name.startswith(asked):
            engine = varied_engine(fault.changes, Oracle(built, numerics))
            session = StepRunner(Client(engine), BASE, case.models)
            settlement.take(Experiment(case, [session.run(step) for step in case.steps]))
    walked = []
    monkeypatch.setattr(hidden, "_explained", lambda *each: walked.append(each[1]) or explained(*each))
    machine = learn_behind_faults(settlement, designed_experiments())
    assert machine is not None
    assert len(walked) < MOST_WALKED  # the others change nothing there
    choices = settlement.best()
    assert {attribute: choices[attribute] for attribute in concealed} == {
        attribute: getattr(built, attribute) for attribute in concealed
    }
    trials = Trials(settlement, numerics, settlement.predictions.bind)
    assert resolve(settlement, trials, BASE) == choices
    bugs = known_bugs(settlement, trials, replace(BASE, **choices), settlement.offered)
    assert [bug.rule for bug in bugs] == [fault.rule]
    assert not unexplained_bugs(settlement, trials, replace(BASE, **choices), bugs)


def test_nothing_is_hidden_in_a_right_build() -> None:
    """ID-3: without a contradiction no fault is looked for."""
    settlement = Settlement(Predictions(BASE, CompiledSeq32(1)), Translation(Dialect.of(DIAGNOSTIC_NAMES, ())), ())
    assert learn_behind_faults(settlement, designed_experiments()) is None


def test_what_a_fault_explains_turns_no_option_and_blames_no_rule() -> None:
    """ID-3: what another option would explain turns it, and is a bug under none; behind a fault it does neither."""
    numerics = CompiledSeq32(1)
    fixed = {name: (options[0],) for name, options in SWITCHES.items()}
    translation = Translation(Dialect.of(DIAGNOSTIC_NAMES, ()))
    settlement = Settlement(Predictions(BASE, numerics), translation, frozenset(DIAGNOSTIC_NAMES), Survivors(fixed))
    case = next(case for case in designed_experiments() if case.name.startswith("identify/generator-1"))
    session = StepRunner(Client(Oracle(replace(BASE, xorshift="7,9,8"), numerics).engine()), BASE, case.models)
    item = Experiment(case, [session.run(step) for step in case.steps])
    settlement.take(item)
    assert set(settlement.contradicted) == {case.name}
    trials = Trials(settlement, numerics, settlement.predictions.bind)
    assert unexplained_bugs(settlement, trials, BASE, [])
    settlement.behind_fault = {case.name: item}
    settlement.survivors.options["xorshift"] = SWITCHES["xorshift"]
    assert not unexplained_bugs(settlement, trials, BASE, [])
    assert resolve(settlement, trials, BASE)["xorshift"] == BASE.xorshift
    settlement.behind_fault = {}
    assert resolve(settlement, trials, BASE)["xorshift"] == "7,9,8"
