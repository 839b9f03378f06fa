"""Hold single experiments against the oracle under one whole profile."""

from __future__ import annotations

from dataclasses import dataclass

from refruntime.cases.observe import Observation, StepRunner
from refruntime.cases.steps import Generate
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.differential.compare import Difference
from refruntime.differential.run import Oracle, guessed_tokens
from refruntime.identify.reading import ReadingBinder
from refruntime.identify.settle import Experiment, Settlement
from refruntime.memory import HostMisuse
from refruntime.numerics import Numerics


@dataclass
class Trials:
    """The oracle under whole profiles, and the settlement that knows how the build's answers are compared."""

    settlement: Settlement
    numerics: Numerics
    bind: ReadingBinder

    def difference(self, experiment: Experiment, profile: Profile) -> Difference | None:
        """Return the first difference between a build's answers and the oracle's; None where all agree."""
        engine = Oracle(profile, self.numerics, bind=self.bind).engine()
        session = StepRunner(Client(engine), Profile(), experiment.case.models)
        for index, theirs in enumerate(experiment.answers):
            if isinstance(theirs.step, Generate):
                engine.expect(guessed_tokens(index, experiment.answers, engine))
            try:
                mine: Observation = session.run(experiment.case.steps[index])
            except HostMisuse:
                return None
            found = self.settlement.difference(mine, theirs).first
            if found is not None:
                return Difference(index, found.field, found.reference, found.build)
        return None
