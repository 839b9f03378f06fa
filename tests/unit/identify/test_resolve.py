"""A bug is never learnt as an option (ID-3): what contradicts is weighed, what is in doubt goes back to its default."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from refruntime.battery.features import FEATURES
from refruntime.cases.steps import Case
from refruntime.contract.dialect import Dialect
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.differential.compare import Difference
from refruntime.identify.experiments import switch_experiments
from refruntime.identify.prediction import Predictions
from refruntime.identify.reading import SWITCHES
from refruntime.identify.resolve import explains_more, resolve, without_doubted
from refruntime.identify.settle import PRODUCT, Experiment, Settlement
from refruntime.identify.texts import Translation
from refruntime.identify.trial import Outcome, Trials
from refruntime.numerics import CompiledSeq32

BASE = Profile()
DIFFERS = Difference(0, "status", 0, 1)


class Told(Trials):
    """Trials whose outcome is told: under which values of a switch the contradicted experiments agree."""

    agreeing: dict[str, Any] = {}  # noqa: RUF012

    def outcome(self, experiment: Experiment, profile: Profile) -> Outcome:
        """Return a difference, unless every told switch has its told value; any switch may have been read."""
        told = all(getattr(profile, name) == value for name, value in self.agreeing.items())
        agrees = told or experiment.case.name in self.settlement.agreed
        return () if agrees else (DIFFERS,), frozenset(SWITCHES)


def contradicted(*rules: str) -> tuple[Settlement, Told]:
    """Return what is left where one experiment on some rules agrees under no choice."""
    predictions = Predictions(BASE, CompiledSeq32(1))
    settlement = Settlement(predictions, Translation(Dialect(DIAGNOSTIC_NAMES)), frozenset(DIAGNOSTIC_NAMES))
    settlement.contradicted["identify/x"] = Experiment(Case("identify/x", (), {}, rules), [])
    return settlement, Told(settlement, predictions.numerics, predictions.bind)


Q8, Q4 = "slm1/storage/q8_0", "slm1/storage/q4_0"


def products(name: str, storage: str) -> Experiment:
    """Return an experiment on products of a storage type."""
    return Experiment(Case(name, (), {"model": FEATURES[storage].make(BASE)}, ("FW-4",)), [])


def test_what_agrees_anyway_speaks_for_no_option() -> None:
    """An experiment that was given up, and agrees under the choice that was found, wins nothing for another one."""
    settlement, trials = contradicted("SA-1")
    assert resolve(settlement, trials, BASE) == settlement.best()


def test_an_option_under_which_more_agrees_is_taken() -> None:
    """The control: the same experiment speaks for the option under which alone it agrees."""
    settlement, trials = contradicted("SA-1")
    trials.agreeing = {"generator_on_load": "reseeded"}
    assert resolve(settlement, trials, BASE) == {**settlement.best(), "generator_on_load": "reseeded"}


def test_an_option_of_a_doubted_rule_goes_back() -> None:
    """Where an experiment on a rule itself agrees under nothing, its switches have their defaults and are in doubt."""
    settlement, trials = contradicted("PR-4")
    trials.agreeing = {"generator_on_load": "reseeded", "checksum_rotation": -1}
    chosen = {**resolve(settlement, trials, BASE), "generator_on_load": "reseeded"}
    choices = without_doubted(settlement, trials, BASE, chosen, ())
    assert choices == {**chosen, "generator_on_load": BASE.generator_on_load}
    assert {"generator_on_load", "generator_on_reset", "generator_on_generate"} <= settlement.doubted


def test_what_a_known_fault_of_another_rule_explains_puts_nothing_in_doubt() -> None:
    """The options that were found stay, and are observed: it is under them that the fault explains every answer."""
    settlement, trials = contradicted("PR-4")
    trials.agreeing = {"checksum_rotation": -1}
    chosen = {**settlement.best(), "generator_on_load": "reseeded"}
    assert without_doubted(settlement, trials, BASE, chosen, {"identify/x"}) == chosen
    assert not settlement.doubted


@pytest.mark.parametrize(
    ("name", "rule"), [("load", "PR-4"), ("reset", "PR-4"), ("generate", "PR-4"), ("configured", "SC-3")]
)
def test_sessions_of_the_generator_are_about_their_own_rule(name: str, rule: str) -> None:
    """The first rule of an experiment is the one that is in doubt with it."""
    case = next(case for case in switch_experiments(BASE) if case.name == f"identify/generator-{name}")
    assert case.rules[0] == rule


def test_only_an_experiment_of_its_own_says_how_products_are_rounded() -> None:
    """FW-4: another session that cites the rule may differ for reasons of its own."""
    for rules, wrong in ((("FW-4", "SA-1"), set()), (("FW-4",), {Q8})):
        settlement, _ = contradicted("SA-1")
        settlement.rows = lambda *_: []  # type: ignore[method-assign]
        settlement.take(Experiment(Case("identify/y", (), {"model": FEATURES[Q8].make(BASE)}, rules), []))
        assert settlement.wrong_products == wrong


def test_products_of_another_storage_type_tell_the_way_to_multiply() -> None:
    """FW-4: where those of q8_0 agree under no way, those of q4_0 are tried under each, and others under one."""
    settlement, _ = contradicted("SA-1")
    settlement.wrong_products = {Q8}
    tried = {
        storage: len(list(settlement.allowed({}, PRODUCT, frozenset(storage))))
        for storage in ((), (Q8,), (Q4,), (Q8, Q4))
    }
    ways = len(SWITCHES[PRODUCT])
    assert tried == {(): 1, (Q8,): 1, (Q4,): ways, (Q8, Q4): ways}


@pytest.mark.parametrize(("agreed", "kept"), [(Q4, True), (Q8, False), ("", False)])
def test_the_way_to_multiply_is_not_doubted_where_another_storage_type_agrees(agreed: str, kept: bool) -> None:
    """FW-4, SL-2: products of one storage type are wrong, and those of another show the option all the same."""
    settlement, trials = contradicted("SA-1")
    settlement.contradicted = {"identify/x": products("identify/x", Q8)}
    if agreed:
        settlement.agreed = {"identify/y": products("identify/y", agreed)}
    chosen = {**settlement.best(), PRODUCT: SWITCHES[PRODUCT][1]}
    left = without_doubted(settlement, trials, BASE, chosen, ())
    assert (left == chosen) is kept
    assert (PRODUCT in settlement.doubted) is not kept


def test_a_build_without_scales_is_tried_under_one_way_to_multiply() -> None:
    """FW-4: every session would be run under each option, of which none can show."""
    settlement, _ = contradicted("SA-1")
    assert len(list(settlement.allowed({}, PRODUCT))) == len(SWITCHES[PRODUCT])
    settlement.has_products = False
    assert len(list(settlement.allowed({}, PRODUCT))) == 1


def test_experiments_whose_shortest_session_blames_another_rule_put_nothing_in_doubt() -> None:
    """ST-7, PR-4: an experiment may pass another broken rule by; the controls blame its own, or none."""
    for blamed, doubted in (("ST-7", False), ("PR-4", True), ("", True)):
        settlement, trials = contradicted("PR-4")
        trials.agreeing = {"checksum_rotation": -1}
        chosen = {**settlement.best(), "generator_on_load": "reseeded"}
        told = partial(_told, blamed)
        assert (without_doubted(settlement, trials, BASE, chosen, (), told) != chosen) is doubted
        assert bool(settlement.doubted) is doubted


def _told(rule: str, item: Experiment) -> str:
    return rule


def test_an_option_under_which_the_status_agrees_is_taken() -> None:
    """GEN-9, ST-7: what is left is another field of the same step, which no option concerns."""
    status, state = Difference(3, "status", 3, 13), Difference(3, "model_loaded", True, False)
    assert explains_more((status,), ())
    assert explains_more((status, state), (state,))
    assert not explains_more((status,), (status,))
    assert not explains_more((state,), (replace(state, index=4),))
    assert not explains_more((status,), (replace(status, index=2),))
