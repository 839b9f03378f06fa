"""Hold single experiments against the oracle under one whole profile."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from refruntime.cases.observation import Observation
from refruntime.cases.observe import StepRunner
from refruntime.cases.steps import Generate
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.differential.compare import Difference
from refruntime.differential.run import guessed_tokens
from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from refruntime.identify.oracle import MachineMaker
from refruntime.identify.reading import SWITCHES, ReadingBinder, ReadingProfile
from refruntime.identify.settle import Experiment, Settlement
from refruntime.memory import HostMisuse
from refruntime.numerics import Numerics
from refruntime.runtime import Machine, Runtime

Outcome = tuple[tuple[Difference, ...], frozenset[str]]
"""The differences of the first step that has any, and the switches that the oracle read up to there."""


@dataclass
class Trials:
    """The oracle under whole profiles, and the settlement that knows how the build's answers are compared."""

    settlement: Settlement
    numerics: Numerics
    bind: ReadingBinder
    machine: MachineMaker = Machine.fresh
    _outcomes: dict[tuple[str, Profile], Outcome] = field(default_factory=dict)

    def difference(self, experiment: Experiment, profile: Profile) -> Difference | None:
        """Return the first difference between a build's answers and the oracle's; None where all agree."""
        return next(iter(self.differences(experiment, profile)), None)

    def differences(self, experiment: Experiment, profile: Profile) -> tuple[Difference, ...]:
        """Return what differs in the first step that differs, the first difference first."""
        return self.outcome(experiment, profile)[0]

    def turned(self, experiment: Experiment, profile: Profile, name: str, option: Any) -> Difference | None:
        """Return the first difference under a profile with another option of one switch."""
        return next(iter(self.turned_differences(experiment, profile, name, option)), None)

    def turned_differences(
        self, experiment: Experiment, profile: Profile, name: str, option: Any
    ) -> tuple[Difference, ...]:
        """Return the differences under a profile with another option of one switch.

        Where the oracle does not read the switch before the first difference, or at all, they are the same.
        """
        differences, read = self.outcome(experiment, profile)
        if name not in read:
            return differences
        changes: dict[str, Any] = {name: option}
        return self.differences(experiment, replace(profile, **changes))

    def outcome(self, experiment: Experiment, profile: Profile) -> Outcome:
        """Return the first differences and what was read; each profile is tried once."""
        key = experiment.case.name, profile
        if key not in self._outcomes:
            self._outcomes[key] = self._tried(experiment, profile)
        return self._outcomes[key]

    def _tried(self, experiment: Experiment, profile: Profile) -> Outcome:
        read: dict[str, Any] = {}

        def choose(name: str) -> Any:
            read[name] = getattr(profile, name)
            return read[name]

        noting = ReadingProfile(profile, choose, read, frozenset(SWITCHES))
        runtime = partial(Runtime, bind=self.bind, machine=self.machine)
        engine = ReferenceEngine(ExportedABI(noting, numerics=self.numerics, runtime_type=runtime))
        session = StepRunner(Client(engine), Profile(), experiment.case.models)
        for index, theirs in enumerate(experiment.answers):
            if isinstance(theirs.step, Generate):
                engine.expect(guessed_tokens(index, experiment.answers, engine))
            try:
                mine: Observation = session.run(experiment.case.steps[index])
            except HostMisuse:
                return (), frozenset(SWITCHES)
            found = self.settlement.difference(mine, theirs).differences
            if found:
                return tuple(replace(each, index=index) for each in found), frozenset(read)
        return (), frozenset(read)
