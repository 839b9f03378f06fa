"""The findings of random sessions, judged once more, explained and kept; and those of earlier runs, replayed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from refruntime.campaign.fuzzing import Group, Summary
from refruntime.campaign.ledger import Ledger
from refruntime.campaign.packed import unpacked
from refruntime.campaign.run import Ran
from refruntime.cases.features import Found
from refruntime.commands.packing import Packing
from refruntime.commands.shared import progress
from refruntime.differential.case_result import CaseResult
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import FINE
from refruntime.fuzz.batch import FuzzSubject
from refruntime.fuzz.finding import case_from_document, save_finding, saved_cases
from refruntime.hypotheses.explain import CauseExplanation, Explainer
from refruntime.identify.looking import Looker

MOST_EXPLAINED: Final = 8


@dataclass(frozen=True)
class Judged:
    """One group of sessions: the one that stands for it, judged and explained here, and where it was kept."""

    group: Group
    result: CaseResult
    path: Path | None

    @property
    def first_number(self) -> str:
        """Return the first wrong number that the witness saw, the name of a tensor; empty where it saw none."""
        explanation = self.result.explanation
        seen = explanation.observed if isinstance(explanation, CauseExplanation) else None
        return "" if seen is None else seen.tensor


@dataclass(frozen=True)
class Told:
    """All that a report of `refruntime fuzz` tells."""

    packing: Packing
    seed: int
    summary: Summary
    findings: list[Judged]
    replayed: list[CaseResult]
    ran: Ran
    ledger: Ledger
    only_replay: bool


@dataclass
class Finder:
    """Judge sessions of one build in this process. `corpus` is where they are kept, None for nowhere."""

    packing: Packing
    corpus: Path | None
    explains: bool
    _subject: FuzzSubject | None = field(default=None, init=False)

    @property
    def subject(self) -> FuzzSubject:
        """Return the build beside an oracle; compiled when it is first needed."""
        if self._subject is None:
            self._subject = unpacked(self.packing.build)
        return self._subject

    def replay(self) -> list[CaseResult]:
        """Judge the kept sessions of earlier runs, by name: GoldenError, OSError."""
        if self.corpus is None:
            return []
        cases = list(saved_cases(self.corpus))
        results = []
        with progress("replaying", len(cases)) as bar:
            for case in cases:
                results.append(self._suite().judge(case, self.subject.offered, self._found(), explain=False))
                bar(1)
        return results

    def findings(self, summary: Summary) -> list[Judged]:
        """Return the groups, those with one first wrong number side by side, and keep their sessions: OSError."""
        groups = summary.ordered
        judged: list[Judged] = []
        with progress("looking for causes", len(groups)) as bar:
            for place, group in enumerate(groups):
                judged.append(self._judged(group, self.explains and place < MOST_EXPLAINED))
                bar(1)
        numbers = list(dict.fromkeys(each.first_number for each in judged))
        return sorted(judged, key=lambda each: numbers.index(each.first_number))

    def _judged(self, group: Group, explains: bool) -> Judged:
        pool = self.subject.pool
        case = case_from_document(group.document, pool)
        suite = self._suite()
        result = suite.judge(case, self.subject.offered, self._found(), explain=False)
        if explains and result.verdict not in FINE:
            oracle = self.subject.oracle
            look = Looker(self.packing.module, oracle, self.packing.limits)
            explainer = Explainer(oracle, self.subject.offered, witness=look)
            result = Suite(self.subject.fresh, oracle, explainer).explained(result)
        path = None if self.corpus is None else save_finding(self.corpus, group.document, pool)
        return Judged(group, result, path)

    def _suite(self) -> Suite:
        return Suite(self.subject.fresh, self.subject.oracle)

    def _found(self) -> Found:
        return self.packing.build.found


def finding_entry(judged: Judged) -> dict[str, Any]:
    """Return a finding for a JSON document."""
    group, result = judged.group, judged.result
    return {
        "group": group.name,
        "verdict": str(result.verdict),
        "batches": group.batches,
        "calls": group.document["calls"],
        "calls_before_shrinking": group.calls_before,
        "case": group.document["case"],
        "path": None if judged.path is None else str(judged.path),
        "first_wrong_number": judged.first_number or None,
        "explanation": None if result.explanation is None else result.explanation.document(),
    }
