"""A switch that the oracle never read is not tried: what is known of it is what trying would tell (ID-3)."""

from __future__ import annotations

import random
from dataclasses import replace

from refruntime.cases.observe import StepRunner
from refruntime.client import Client
from refruntime.contract.dialect import Dialect
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from refruntime.identify.ask import designed_experiments
from refruntime.identify.prediction import Predictions
from refruntime.identify.reading import SWITCHES
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.texts import Translation
from refruntime.identify.trial import Trials
from refruntime.numerics import CompiledSeq32

BASE = Profile()


def answered(profile: Profile, name: str) -> Experiment:
    """Return an experiment with the answers of a build that has the options of a profile."""
    case = next(case for case in designed_experiments() if case.name == name)
    session = StepRunner(Client(ReferenceEngine(ExportedABI(profile))), BASE, case.models)
    return Experiment(case, [session.run(step) for step in case.steps])


def trials() -> Trials:
    predictions = Predictions(BASE, CompiledSeq32(1))
    settlement = Settlement(predictions, Translation(Dialect(DIAGNOSTIC_NAMES)), frozenset(DIAGNOSTIC_NAMES))
    return Trials(settlement, predictions.numerics, predictions.bind)


def test_what_was_not_read_is_what_trying_tells() -> None:
    """Every option of every switch, on experiments of states, draws and files, for builds of random options."""
    rng = random.Random(3)
    skipped = 0
    for name in ("identify/state-next-after-failure", "identify/cold-ones", "identify/file-heads-0"):
        built = replace(BASE, **{key: rng.choice(SWITCHES[key]) for key in rng.sample(sorted(SWITCHES), 6)})
        item, mine = answered(built, name), trials()
        for key, options in SWITCHES.items():
            for option in options:
                fresh = trials().difference(item, replace(BASE, **{key: option}))
                assert mine.turned(item, BASE, key, option) == fresh, (key, option)
            skipped += key not in mine.outcome(item, BASE)[1]
    assert skipped > 20
