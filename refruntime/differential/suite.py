"""Run many cases on a build and on the oracle; nothing that a case does stops the others."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from refruntime.cases.features import Found
from refruntime.cases.needs import needs_of
from refruntime.cases.observe import Observation
from refruntime.cases.steps import INIT, Case
from refruntime.differential.compare import Comparison, compare_observations, offered_fields
from refruntime.differential.follow import follow_ties, only_tokens_differ
from refruntime.differential.near_tie import Flip
from refruntime.differential.run import Oracle, PairRun, follow, observe
from refruntime.differential.verdict import FINE, Verdict, exit_code, judge
from refruntime.engines.base import Engine, EngineError
from refruntime.memory import HostMisuse

MOST_EXPLAINED: Final = 12
"""Diverging cases that are explained: one cause often shows in hundreds, and explaining takes longer than comparing."""

MOST_LIMITS: Final = 5
"""Cases that a limit may stop before the rest is given up: a build that always hangs must not hang the suite."""

EXPLAINABLE: Final = frozenset({Verdict.MISMATCH, Verdict.ONLY_REF_FAILED, Verdict.ONLY_WASM_FAILED})


class Explanation(Protocol):
    """What an explainer says about the first divergence of a case."""

    @property
    def lines(self) -> Sequence[tuple[str, str]]:
        """Return (label, text) pairs for the report, such as `first` and `rule`."""

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

    `found` is what the build was asked for and does not have.
    """

    cases: tuple[CaseResult, ...]
    offered: frozenset[str]
    skipped: int = 0
    found: Found = NOTHING_ABSENT

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
        """Return 0 fine, 1 mismatch, nothing compared, or a build without what all stands on, 4 crash."""
        code = exit_code(self.total.verdicts, self.total.steps)
        return code or int(self.found.required is not None)


@dataclass(frozen=True)
class Suite:
    """A build, given by a function that makes a fresh instance, against an oracle.

    `features` finds out what the build has before it is judged; without it nothing is taken to be absent.
    """

    build: Callable[[], Engine]
    oracle: Oracle
    explain: Explainer | None = None
    features: FeatureFinder | None = None

    def run(
        self,
        cases: Sequence[Case],
        *,
        fail_fast: bool = False,
        after_case: Callable[[CaseResult], object] | None = None,
    ) -> SuiteResult:
        """Run and judge every case; with `fail_fast` none after the first that is not fine.

        A build that a limit stopped MOST_LIMITS times is not run again: the other cases are POISONED. Where the build
        refuses the plain file on which all stands, the case that shows it comes first.
        """
        offered, found = self.offered(), self.find(cases)
        wanted = cases if found.required is None else [found.required, *cases]
        results: list[CaseResult] = []
        limits = explained = 0
        for case in wanted:
            if limits == MOST_LIMITS:
                result = CaseResult(case, Verdict.POISONED, f"not run: a limit stopped the build {limits} times before")
            else:
                result = self.judge(case, offered, found, explain=explained < MOST_EXPLAINED)
                explained += result.explanation is not None
                limits += result.verdict is Verdict.POISONED
            results.append(result)
            if after_case is not None:
                after_case(result)
            if fail_fast and result.verdict not in FINE:
                break
        return SuiteResult(tuple(results), offered, len(wanted) - len(results), found)

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
        self, case: Case, offered: frozenset[str], found: Found = NOTHING_ABSENT, *, explain: bool = True
    ) -> CaseResult:
        """Run one case on fresh instances and judge it; a bug of this tool is a verdict, not an exception.

        A case that needs what is absent in `found` is not run; the one that shows what the build has to have is.
        """
        missing = "" if case is found.required else found.reason(needs_of(case))
        if missing:
            return CaseResult(case, Verdict.UNSUPPORTED, missing)
        began = time.perf_counter()
        try:
            result = self._judge(case, offered, explain)
        except HostMisuse as misuse:
            result = CaseResult(
                case, Verdict.UNSUPPORTED, f"the case does what the contract leaves undefined: {misuse}"
            )
        except Exception:
            result = CaseResult(case, Verdict.ORACLE_CRASH, crash=traceback.format_exc())
        if case is found.required and result.verdict is not Verdict.CONTRACT_GAP:
            result = replace(result, reason=found.refusal)
        return replace(result, seconds=time.perf_counter() - began)

    def _judge(self, case: Case, offered: frozenset[str], explain: bool) -> CaseResult:
        build = self._observe(case)
        mine = follow(case, build, self.oracle.engine(), self.oracle.profile)
        comparison = compare_observations(mine, build, offered)
        ties: tuple[Flip, ...] = ()
        flip = None
        if only_tokens_differ(case, comparison):
            followed = follow_ties(case, build, self.oracle, offered)
            mine, comparison, ties, flip = followed.observations, followed.comparison, followed.ties, followed.flip
        run = PairRun(case, mine, build, comparison)
        verdict, reason = judge(mine, build, comparison, len(ties))
        explanation = None
        if explain and self.explain is not None and verdict in EXPLAINABLE:
            explanation = self.explain(run)
            if explanation is not None and explanation.gap is not None:
                verdict, reason = Verdict.CONTRACT_GAP, explanation.gap
        return CaseResult(case, verdict, reason, run, ties, flip, explanation)

    def _observe(self, case: Case) -> list[Observation]:
        try:
            engine = self.build()
        except EngineError as error:  # the module cannot even be instantiated
            return [Observation(case.steps[0], "error", detail=str(error))]
        return observe(case, engine, self.oracle.profile)
