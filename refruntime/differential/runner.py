"""Run many cases on a build and judge them; nothing that a case does stops the others."""

from __future__ import annotations

import math
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from refruntime.cases.features import Found
from refruntime.cases.observation import EngineFailed, LimitReached, Observation
from refruntime.cases.steps import INIT, Case
from refruntime.contract.profile import Profile
from refruntime.differential.case_result import CaseResult, SuiteResult, kept
from refruntime.differential.compare import offered_fields
from refruntime.differential.patience import Patience, death_of
from refruntime.differential.run import observe
from refruntime.differential.verdict import FINE, Verdict
from refruntime.engines.base import Engine, EngineError, EngineLimit
from refruntime.memory import HostMisuse

MOST_EXPLAINED: Final = 12
"""Diverging cases that are explained: one cause often shows in hundreds, and explaining takes longer than comparing."""


@dataclass(frozen=True)
class CaseRunner(ABC):
    """Runs cases on a build, given by a function that makes a fresh instance, and judges them.

    A subclass knows what is right: the oracle, frozen answers. `until` is the time of `time.monotonic` after which no
    case begins.
    """

    raised: ClassVar[tuple[type[Exception], ...]] = ()
    """What ends the run where it is raised while a case is judged; any other exception is a verdict."""

    build: Callable[[], Engine]
    until: float = field(default=math.inf, kw_only=True)

    @property
    @abstractmethod
    def profile(self) -> Profile:
        """Return the profile of the right answers."""

    @abstractmethod
    def find(self, cases: Sequence[Case]) -> Found:
        """Return which of the features that cases need the build does not have (ID-1)."""

    @abstractmethod
    def needs(self, case: Case) -> Iterable[str]:
        """Return the names of the features that a case needs."""

    @abstractmethod
    def compared(self, case: Case, offered: frozenset[str]) -> CaseResult:
        """Run one case on a fresh instance and compare it with what is right."""

    def run(
        self,
        cases: Sequence[Case],
        *,
        max_fail: int | None = None,
        before_explaining: Callable[[CaseResult], object] | None = None,
        after_case: Callable[[CaseResult], object] | None = None,
    ) -> SuiteResult:
        """Run and judge every case; none after `max_fail` that are not fine.

        A build that a limit stopped MOST_LIMITS times, or that failed alike in the first step of the first MOST_DEAD
        cases, is not run again, and none is after the time `until`: the other cases are POISONED. Where the build
        refuses the plain file on which all stands, the case that shows it comes first. `before_explaining` is told of
        a case that diverges before its causes are searched, `after_case` of every case. An interrupt ends the run and
        keeps what was compared, also the case whose causes were not found yet.
        """
        offered, found = self.offered(), self.find(cases)
        wanted = cases if found.required is None else [found.required, *cases]
        results: list[CaseResult] = []
        explained = failed = 0
        patience = Patience(self.until)
        interrupted = False
        judged = self._each(wanted, offered, found)
        try:
            for case in wanted:
                if patience.exhausted():
                    results.append(CaseResult(case, Verdict.POISONED, patience.given_up))
                else:
                    results.append(_with_refusal(next(judged), found))
                    if explained < MOST_EXPLAINED and self._can_explain(results[-1]):
                        if before_explaining is not None:
                            before_explaining(results[-1])
                        results[-1] = self._explained_in_time(results[-1])
                    explained += results[-1].explanation is not None
                    patience.saw(results[-1].verdict, _death(results[-1]))
                failed += results[-1].verdict not in FINE
                if after_case is not None:
                    after_case(results[-1])
                results[-1] = kept(results[-1])
                if failed == max_fail:
                    break
        except KeyboardInterrupt:
            interrupted = True
        finally:
            judged.close()
        return SuiteResult(tuple(results), offered, len(wanted) - len(results), found, interrupted)

    def _each(self, wanted: Sequence[Case], offered: frozenset[str], found: Found) -> Generator[CaseResult, None, None]:
        """Judge cases in their order, unexplained."""
        for case in wanted:
            yield self.judge(case, offered, found, explain=False)

    def explained(self, result: CaseResult) -> CaseResult:
        """Return a result with what explains its first divergence: as it is, where nothing explains."""
        return result

    def _can_explain(self, _result: CaseResult) -> bool:
        return False

    def _explained_in_time(self, result: CaseResult) -> CaseResult:
        """Explain a result; a bug of what explains is a verdict, not an exception."""
        began = time.perf_counter()
        try:
            explained = self.explained(result)
        except Exception:
            explained = CaseResult(result.case, Verdict.ORACLE_CRASH, crash=traceback.format_exc())
        return replace(explained, seconds=result.seconds + time.perf_counter() - began)

    def offered(self) -> frozenset[str]:
        """Return the diagnostics fields that a fresh build shows; none if it cannot even start."""
        try:
            engine = self.build()
        except EngineError:
            return frozenset()
        return offered_fields(observe(Case("offered", (INIT,)), engine, self.profile))

    def judge(
        self, case: Case, offered: frozenset[str], found: Found | None = None, *, explain: bool = True
    ) -> CaseResult:
        """Run one case on fresh instances and judge it; a bug of this tool is a verdict, not an exception.

        A case that needs what is absent in `found` is not run; the one that shows what the build has to have is.
        Without `found` the build is asked for this case.
        """
        found = self.find([case]).of_one_case if found is None else found
        missing = "" if case is found.required else found.reason(self.needs(case))
        if missing:
            return CaseResult(case, Verdict.UNSUPPORTED, missing)
        began = time.perf_counter()
        try:
            result = self.compared(case, offered)
        except self.raised:
            raise
        except HostMisuse as misuse:
            result = CaseResult(
                case, Verdict.UNSUPPORTED, f"the case does what the contract leaves undefined: {misuse}"
            )
        except Exception:
            result = CaseResult(case, Verdict.ORACLE_CRASH, crash=traceback.format_exc())
        result = replace(result, seconds=time.perf_counter() - began)
        return self._explained_in_time(_with_refusal(result, found)) if explain else result

    def observed(self, case: Case) -> list[Observation]:
        """Run a case on a fresh instance and return what each step showed."""
        try:
            engine = self.build()
        except EngineError as error:  # the module cannot even be instantiated
            return [not_instantiated(case, error)]
        return observe(case, engine, self.profile)


def not_instantiated(case: Case, error: EngineError) -> Observation:
    """Return what stands for the first step of a case where there is no instance: a limit, or an error."""
    kind = LimitReached if isinstance(error, EngineLimit) else EngineFailed
    return kind(case.steps[0], str(error))


def _death(result: CaseResult) -> str:
    """Return what ended a case before its first step was answered; empty for any other end."""
    difference = result.comparison.first
    if result.run is None or difference is None or difference.index > 0 or not result.run.build:
        return ""
    return death_of(result.run.build[0])


def _with_refusal(result: CaseResult, found: Found) -> CaseResult:
    """Name the refusal of what the build has to have as the reason of the case that shows it."""
    return replace(result, reason=found.refusal) if result.case is found.required else result
