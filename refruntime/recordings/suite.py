"""Judge what a build answered somewhere else: the oracle repeats the steps, the build's answers are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from refruntime.cases.observation import Observation, code_of
from refruntime.cases.steps import Case, Load
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.differential.case_result import CaseResult
from refruntime.differential.compare import offered_fields
from refruntime.differential.run import Oracle, PairRun
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import Verdict
from refruntime.engines.base import Engine, EngineError
from refruntime.recordings.convert import RecordedAnswer


@dataclass(frozen=True)
class RecordedSuite(Suite):
    """A suite whose build is not here: `recorded` has its observations by case name."""

    recorded: Mapping[str, Sequence[Observation]] = field(default_factory=dict)

    def offered(self) -> frozenset[str]:
        """Return the diagnostics fields that the build shows in any recorded document."""
        return frozenset().union(*(offered_fields(observations) for observations in self.recorded.values()))

    def observed(self, case: Case) -> list[Observation]:
        """Return what was recorded of a case."""
        return list(self.recorded[case.name])

    def compared(self, case: Case, offered: frozenset[str]) -> CaseResult:
        """Compare what was recorded of a case with the oracle's answers."""
        result = super().compared(case, offered)
        reason = "" if result.run is None else _refused_extension(case, result.run)
        return replace(result, verdict=Verdict.UNSUPPORTED, reason=reason) if reason else result


def _refused_extension(case: Case, run: PairRun) -> str:
    """Say what a recorded build does not have, if that is why a load differs; empty otherwise.

    It cannot be asked for a plain file any more (ID-1), so its own answers must do: GGUF is this project's extension,
    and a build may refuse the container with InvalidModelMagic, or a type in it with UnsupportedDType.
    """
    first = run.comparison.first
    if first is None or first.index >= min(len(run.reference), len(run.build)):
        return ""
    mine, theirs = run.reference[first.index], run.build[first.index]
    if not isinstance(mine.step, Load) or not case.models[mine.step.model].startswith(b"GGUF"):
        return ""
    if code_of(theirs) == Status.InvalidModelMagic:
        return "the recorded build does not accept GGUF (GG-1)"
    if code_of(theirs) == Status.UnsupportedDType and code_of(mine) == Status.Ok:
        return "the recorded build does not support a tensor type of this GGUF file (GG-3)"
    return ""


def recorded_suite(case: Case, answers: Sequence[RecordedAnswer], oracle: Oracle) -> RecordedSuite:
    """Return the suite of one recorded session."""
    return RecordedSuite(_no_build, oracle, recorded={case.name: observations(answers, oracle.profile)})


def observations(answers: Sequence[RecordedAnswer], profile: Profile) -> list[Observation]:
    """Return recorded answers as the observations of a build."""
    return [answer.observation(profile) for answer in answers]


def _no_build() -> Engine:
    raise EngineError("a recorded build cannot be started again")
