"""Judge what a build answered somewhere else: the oracle repeats the steps, the build's answers are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from refruntime.cases.observe import Observation
from refruntime.cases.steps import Case
from refruntime.contract.profile import Profile
from refruntime.differential.compare import offered_fields
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite
from refruntime.engines.base import Engine, EngineError
from refruntime.recordings.convert import Answer


@dataclass(frozen=True)
class RecordedSuite(Suite):
    """A suite whose build is not here: `recorded` has its observations by case name."""

    recorded: Mapping[str, Sequence[Observation]] = field(default_factory=dict)

    def offered(self) -> frozenset[str]:
        """Return the diagnostics fields that the build shows in any recorded document."""
        return frozenset().union(*(offered_fields(observations) for observations in self.recorded.values()))

    def _observe(self, case: Case) -> list[Observation]:
        return list(self.recorded[case.name])


def recorded_suite(case: Case, answers: Sequence[Answer], oracle: Oracle) -> RecordedSuite:
    """Return the suite of one recorded session."""
    return RecordedSuite(_no_build, oracle, recorded={case.name: observations(case, answers, oracle.profile)})


def observations(case: Case, answers: Sequence[Answer], profile: Profile) -> list[Observation]:
    """Return recorded answers as the observations of a build."""
    return [answer.observation(step, profile) for step, answer in zip(case.steps, answers, strict=False)]


def _no_build() -> Engine:
    raise EngineError("a recorded build cannot be started again")
