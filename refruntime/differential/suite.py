"""Run many cases on a build and on the oracle; nothing that a case does stops the others."""

from __future__ import annotations

import math
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from refruntime.cases.features import Found
from refruntime.cases.needs import needs_of
from refruntime.cases.observe import Observation
from refruntime.cases.steps import INIT, Case
from refruntime.differential.compare import Comparison, offered_fields
from refruntime.differential.evaluate import evaluate
from refruntime.differential.margins import Flip
from refruntime.differential.patience import Patience, death_of
from refruntime.differential.run import Oracle, PairRun, observe
from refruntime.differential.verdict import EXIT_INTERRUPTED, FINE, Verdict, exit_code
from refruntime.engines.base import Engine, EngineError, EngineLimit
from refruntime.memory import HostMisuse

MOST_EXPLAINED: Final = 12
"""Diverging cases that are explained: one cause often shows in hundreds, and explaining takes longer than comparing."""

EXPLAINABLE: Final = frozenset({Verdict.MISMATCH, Verdict.ONLY_REF_FAILED, Verdict.ONLY_WASM_FAILED})


class Explanation(Protocol):
    """What an explainer says about the first divergence of a case."""

    @property
    def lines(self) -> Sequence[tuple[str, str]]:
        """Return (label, text) pairs for the report, such as `first` and `rule`."""

    @property
    def rules(self) -> Sequence[str]:
        """Return the rules that what explains every step breaks; none where nothing does."""

    @property
    def gap(self) -> str | None:
        """Return `RULE = option` when another option of a declared rule explains every step, else None."""

    def document(self) -> dict[str, Any]:
        """Return the explanation as JSON-ready values."""


FeatureFinder = Callable[[Sequence[Case]], Found]
"""Find out which of the features that cases need the build has (ID-1)."""

NOTHING_ABSENT: Final = Found()
"""What is known of a build that was asked for nothing."""

Explainer = Callable[[PairRun], Explanation | None]
"""Explain the first divergence of a case; None when there is nothing to say."""


Judging = Callable[["Suite", Sequence[Case], frozenset[str], Found], Iterator["CaseResult"]]
"""Judge cases for a suite in their order: suite, cases, offered fields, absent features -> a result for each."""


@dataclass(frozen=True)
class CaseResult:
    """One case, judged. `run` is None and `crash` the traceback where this tool itself failed."""

    case: Case
    verdict: Verdict
    reason: str = ""
    run: PairRun | None = None
    ties: tuple[Flip, ...] = ()
    flip: Flip | None = None
    explanation: Explanation | None = None
    crash: str = ""
    seconds: float = 0.0

    @property
    def comparison(self) -> Comparison:
        """Return what was compared; empty after a crash."""
        return self.run.comparison if self.run is not None else Comparison()


@dataclass
class Family:
    """Sums over the cases whose name begins with `name/`."""

    name: str
    cases: int = 0
    steps: int = 0
    fields: int = 0
    tokens: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)

    def add(self, result: CaseResult) -> None:
        """Count one case."""
        self.cases += 1
        self.steps += result.comparison.steps
        self.fields += sum(result.comparison.compared.values())
        self.tokens += result.comparison.tokens
        self.verdicts[result.verdict] += 1


@dataclass(frozen=True)
class SuiteResult:
    """All judged cases in order. `offered` are the diagnostics fields of the build; `skipped` cases did not run.

    `found` is what the build was asked for and does not have. `interrupted` says that a person ended the run.
    """

    cases: tuple[CaseResult, ...]
    offered: frozenset[str]
    skipped: int = 0
    found: Found = NOTHING_ABSENT
    interrupted: bool = False

    @property
    def families(self) -> tuple[Family, ...]:
        """Return the sums of every family, in order of first appearance."""
        families: dict[str, Family] = {}
        for result in self.cases:
            name = result.case.name.partition("/")[0]
            families.setdefault(name, Family(name)).add(result)
        return tuple(families.values())

    @property
    def total(self) -> Family:
        """Return the sums over all cases."""
        total = Family("total")
        for result in self.cases:
            total.add(result)
        return total

    @property
    def lost(self) -> dict[str, int]:
        """Return how often a field could not be compared because the build does not have it."""
        lost: Counter[str] = Counter()
        for result in self.cases:
            lost.update(result.comparison.lost)
        return dict(sorted(lost.items()))

    @property
    def absent(self) -> dict[str, int]:
        """Return how many cases could not be judged for want of a feature, by the name of the feature (ID-1)."""
        reasons = Counter(result.reason for result in self.cases if result.verdict is Verdict.UNSUPPORTED)
        return {name: reasons[self.found.reason([name])] for name in self.found.absent}

    @property
    def exit_code(self) -> int:
        """Return 0 fine, 1 mismatch, nothing compared, or no plain file accepted, 4 crash, 130 interrupted."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        code = exit_code(self.total.verdicts, self.total.steps)
        return code or int(self.found.required is not None)


@dataclass(frozen=True)
class Suite:
    """A build, given by a function that makes a fresh instance, against an oracle.

    `features` finds out what the build has before it is judged; without it nothing is taken to be absent. `judged` may
    judge cases elsewhere, in their order and without explanations; by default they are judged here, one by one.
    `until` is the time of `time.monotonic` after which no case begins.
    """

    build: Callable[[], Engine]
    oracle: Oracle
    explain: Explainer | None = None
    features: FeatureFinder | None = None
    judged: Judging | None = None
    until: float = math.inf

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
        """Judge cases in their order, unexplained; the one that shows what the build has to have is judged here."""
        first = int(found.required is not None)
        for case in wanted if self.judged is None else wanted[:first]:
            yield self.judge(case, offered, found, explain=False)
        if self.judged is not None:
            yield from self.judged(self, wanted[first:], offered, found)

    def _can_explain(self, result: CaseResult) -> bool:
        return self.explain is not None and result.run is not None and result.verdict in EXPLAINABLE

    def _explained_in_time(self, result: CaseResult) -> CaseResult:
        """Explain a result; a bug of what explains is a verdict, not an exception."""
        began = time.perf_counter()
        try:
            explained = self.explained(result)
        except Exception:
            explained = CaseResult(result.case, Verdict.ORACLE_CRASH, crash=traceback.format_exc())
        return replace(explained, seconds=result.seconds + time.perf_counter() - began)

    def find(self, cases: Sequence[Case]) -> Found:
        """Return which of the features that cases need the build does not have (ID-1)."""
        return NOTHING_ABSENT if self.features is None else self.features(cases)

    def offered(self) -> frozenset[str]:
        """Return the diagnostics fields that a fresh build shows; none if it cannot even start."""
        try:
            engine = self.build()
        except EngineError:
            return frozenset()
        return offered_fields(observe(Case("offered", (INIT,)), engine, self.oracle.profile))

    def judge(
        self, case: Case, offered: frozenset[str], found: Found | None = None, *, explain: bool = True
    ) -> CaseResult:
        """Run one case on fresh instances and judge it; a bug of this tool is a verdict, not an exception.

        A case that needs what is absent in `found` is not run; the one that shows what the build has to have is.
        Without `found` the build is asked for this case.
        """
        found = self.find([case]).of_one_case if found is None else found
        missing = "" if case is found.required else found.reason(needs_of(case))
        if missing:
            return CaseResult(case, Verdict.UNSUPPORTED, missing)
        began = time.perf_counter()
        try:
            result = self._compared(case, offered)
        except HostMisuse as misuse:
            result = CaseResult(
                case, Verdict.UNSUPPORTED, f"the case does what the contract leaves undefined: {misuse}"
            )
        except Exception:
            result = CaseResult(case, Verdict.ORACLE_CRASH, crash=traceback.format_exc())
        result = replace(result, seconds=time.perf_counter() - began)
        return self._explained_in_time(_with_refusal(result, found)) if explain else result

    def _compared(self, case: Case, offered: frozenset[str]) -> CaseResult:
        judged = evaluate(case, self._observe(case), self.oracle, offered)
        return CaseResult(case, judged.verdict, judged.reason, judged.run, judged.ties, judged.flip)

    def explained(self, result: CaseResult) -> CaseResult:
        """Return a result with what explains its first divergence; another option of a declared rule is a gap."""
        if self.explain is None or result.run is None or not self._can_explain(result):
            return result
        explanation = self.explain(result.run)
        if explanation is None or explanation.gap is None:
            return replace(result, explanation=explanation)
        return replace(result, verdict=Verdict.CONTRACT_GAP, reason=explanation.gap, explanation=explanation)

    def _observe(self, case: Case) -> list[Observation]:
        try:
            engine = self.build()
        except EngineError as error:  # the module cannot even be instantiated
            return [not_instantiated(case, error)]
        return observe(case, engine, self.oracle.profile)


def not_instantiated(case: Case, error: EngineError) -> Observation:
    """Return what stands for the first step of a case where there is no instance: a limit, or an error."""
    return Observation(case.steps[0], "limit" if isinstance(error, EngineLimit) else "error", detail=str(error))


def kept(result: CaseResult) -> CaseResult:
    """Keep of a finished case the answers up to its first difference, those that agree once: reports need no more."""
    run = result.run
    if run is None:
        return result
    end = 0 if run.comparison.first is None else run.comparison.first.index
    mine, theirs = run.reference[: end + 1], [*run.reference[:end], *run.build[end : end + 1]]
    fine = run.comparison.first is None
    return replace(result, run=replace(run, reference=[] if fine else mine, build=[] if fine else theirs))


def _death(result: CaseResult) -> str:
    """Return what ended a case before its first step was answered; empty for any other end."""
    difference = result.comparison.first
    if result.run is None or difference is None or difference.index > 0 or not result.run.build:
        return ""
    return death_of(result.run.build[0])


def _with_refusal(result: CaseResult, found: Found) -> CaseResult:
    """Name the refusal of what the build has to have as the reason of the case that shows it."""
    return replace(result, reason=found.refusal) if result.case is found.required else result
