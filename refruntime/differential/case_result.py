"""What became of a case, of a family of cases, of a run; and what may be said about a divergence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from refruntime.cases.features import Found
from refruntime.cases.steps import Case
from refruntime.differential.compare import Comparison
from refruntime.differential.margins import Flip
from refruntime.differential.run import PairRun
from refruntime.differential.verdict import EXIT_INTERRUPTED, Verdict, exit_code

NOTHING_ABSENT: Final = Found()
"""What is known of a build that was asked for nothing."""


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


def kept(result: CaseResult) -> CaseResult:
    """Keep of a finished case the answers up to its first difference, those that agree once: reports need no more."""
    run = result.run
    if run is None:
        return result
    end = 0 if run.comparison.first is None else run.comparison.first.index
    mine, theirs = run.reference[: end + 1], [*run.reference[:end], *run.build[end : end + 1]]
    fine = run.comparison.first is None
    return replace(result, run=replace(run, reference=[] if fine else mine, build=[] if fine else theirs))
