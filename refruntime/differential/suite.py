"""A build against the oracle."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from refruntime.cases.features import Found
from refruntime.cases.needs import needs_of
from refruntime.cases.steps import Case
from refruntime.contract.profile import Profile
from refruntime.differential.case_result import NOTHING_ABSENT, CaseResult, Explanation
from refruntime.differential.evaluate import evaluate
from refruntime.differential.run import Oracle, PairRun
from refruntime.differential.runner import CaseRunner
from refruntime.differential.verdict import Verdict

EXPLAINABLE: Final = frozenset({Verdict.MISMATCH, Verdict.ONLY_REF_FAILED, Verdict.ONLY_WASM_FAILED})

FeatureFinder = Callable[[Sequence[Case]], Found]
"""Find out which of the features that cases need the build has (ID-1)."""

Explainer = Callable[[PairRun], Explanation | None]
"""Explain the first divergence of a case; None when there is nothing to say."""

Judging = Callable[["Suite", Sequence[Case], frozenset[str], Found], Iterator["CaseResult"]]
"""Judge cases for a suite in their order: suite, cases, offered fields, absent features -> a result for each."""


@dataclass(frozen=True)
class Suite(CaseRunner):
    """A build against an oracle.

    `features` finds out what the build has before it is judged; without it nothing is taken to be absent. `judged` may
    judge cases elsewhere, in their order and without explanations; by default they are judged here, one by one.
    """

    oracle: Oracle
    explain: Explainer | None = None
    features: FeatureFinder | None = None
    judged: Judging | None = None

    @property
    def profile(self) -> Profile:
        """Return the profile of the oracle."""
        return self.oracle.profile

    def find(self, cases: Sequence[Case]) -> Found:
        """Return which of the features that cases need the build does not have (ID-1)."""
        return NOTHING_ABSENT if self.features is None else self.features(cases)

    def needs(self, case: Case) -> Iterable[str]:
        """Return the names of the features that a case needs."""
        return needs_of(case)

    def compared(self, case: Case, offered: frozenset[str]) -> CaseResult:
        """Run one case on a fresh instance and compare it with what is right."""
        judged = evaluate(case, self.observed(case), self.oracle, offered)
        return CaseResult(case, judged.verdict, judged.reason, judged.run, judged.ties, judged.flip)

    def _each(self, wanted: Sequence[Case], offered: frozenset[str], found: Found) -> Generator[CaseResult, None, None]:
        """Judge cases in their order, unexplained; the one that shows what the build has to have is judged here."""
        first = int(found.required is not None)
        for case in wanted if self.judged is None else wanted[:first]:
            yield self.judge(case, offered, found, explain=False)
        if self.judged is not None:
            yield from self.judged(self, wanted[first:], offered, found)

    def _can_explain(self, result: CaseResult) -> bool:
        return self.explain is not None and result.run is not None and result.verdict in EXPLAINABLE

    def explained(self, result: CaseResult) -> CaseResult:
        """Return a result with what explains its first divergence; another option of a declared rule is a gap."""
        if self.explain is None or result.run is None or not self._can_explain(result):
            return result
        explanation = self.explain(result.run)
        if explanation is None or explanation.gap is None:
            return replace(result, explanation=explanation)
        return replace(result, verdict=Verdict.CONTRACT_GAP, reason=explanation.gap, explanation=explanation)
