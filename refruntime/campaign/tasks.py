"""The tasks of a campaign: each says all that it depends on, so it gives one result wherever and how often it runs."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final

from refruntime.battery.catalogue import default_battery, generation_models
from refruntime.battery.random_sessions import random_sessions
from refruntime.campaign.forms import fits
from refruntime.campaign.packed import PackedBuild, content_hash, unpacked
from refruntime.cases.steps import Case
from refruntime.contract.profile import Profile
from refruntime.differential.case_result import CaseResult
from refruntime.differential.compare import outcome
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import Verdict
from refruntime.fuzz.batch import RULES, SESSIONS, SUMS, BatchResult, run_batch, shrink_finding
from refruntime.fuzz.finding import finding_document, group_of
from refruntime.resources import trained_artifacts

CASES_OF_A_TASK: Final = 24

CRASH: Final = "crash"
"""Key of a result that is none: the task itself failed, and this is the traceback."""


FINDING: Final = {"group": str, "verdict": str, "name": str, "calls": int, "case": dict}
CASE: Final = {
    **{"name": str, "verdict": frozenset(map(str, Verdict)), "reason": str, "steps": int, "tokens": int},
    **{"fields": int, "group?": str, "step?": int, "ends?": [str], "crash?": str},
}
"""Forms of what results hold (`forms.fits`)."""


@dataclass(frozen=True)
class FuzzTask:
    """One batch of random sessions on a build."""

    kind: ClassVar[str] = "fuzz"
    form: ClassVar[dict[str, Any]] = {
        **dict.fromkeys(SUMS, int),
        **{"reached": [(str, str, str, str, int)], "findings": [FINDING]},
    }
    build: PackedBuild
    seed: int
    number: int
    sessions: int = SESSIONS
    rules: int = RULES

    @property
    def parameters(self) -> dict[str, Any]:
        """Return what the result depends on besides the build."""
        return {"seed": self.seed, "number": self.number, "sessions": self.sessions, "rules": self.rules}

    def run(self) -> dict[str, Any]:
        """Run the batch."""
        subject = unpacked(self.build)
        done = self._batch()
        return {
            **{name: getattr(done, name) for name in SUMS},
            "reached": done.reached.document(),
            "findings": [
                finding_document(found, f"{self.seed}-{self.number}-{place}", subject.pool)
                for place, found in enumerate(done.findings.values())
            ],
        }

    def _batch(self) -> BatchResult:
        return run_batch(unpacked(self.build), self.seed, self.number, self.sessions, self.rules)


@dataclass(frozen=True)
class ShrinkTask:
    """The smallest session of one group, searched where a batch found the first."""

    kind: ClassVar[str] = "shrink"
    form: ClassVar[dict[str, Any]] = {**FINDING, "calls_before": int}
    batch: FuzzTask
    group: str

    @property
    def build(self) -> PackedBuild:
        """Return the build of the batch."""
        return self.batch.build

    @property
    def parameters(self) -> dict[str, Any]:
        """Return what the result depends on besides the build."""
        return {**self.batch.parameters, "group": self.group}

    def run(self) -> dict[str, Any]:
        """Find the session again and shrink it."""
        subject, batch = unpacked(self.build), self.batch
        found = batch._batch().findings[self.group]
        smallest = shrink_finding(subject, found, batch.seed, batch.number, batch.sessions, batch.rules)
        name = f"{batch.seed}-{batch.number}-{content_hash({'group': self.group})[:8]}"
        return {**finding_document(smallest, name, subject.pool), "calls_before": found.calls}


@dataclass(frozen=True)
class DiffTask:
    """Some cases of the battery, or of random sessions if `random` has a seed and a count, on a build."""

    kind: ClassVar[str] = "diff"
    form: ClassVar[dict[str, Any]] = {"cases": [CASE]}
    build: PackedBuild
    patterns: tuple[str, ...]
    random: tuple[int, int] | None
    first: int
    last: int

    @property
    def parameters(self) -> dict[str, Any]:
        """Return what the result depends on besides the build."""
        chosen = list(self.patterns), None if self.random is None else list(self.random)
        return {"patterns": chosen[0], "random": chosen[1], "first": self.first, "last": self.last}

    def run(self) -> dict[str, Any]:
        """Judge the cases."""
        subject = unpacked(self.build)
        suite = Suite(subject.fresh, subject.oracle)
        cases = chosen_cases(subject.profile, self.patterns, self.random)[self.first : self.last]
        judged = (suite.judge(case, self.build.offered, self.build.found, explain=False) for case in cases)
        return {"cases": [case_document(result) for result in judged]}


Task = FuzzTask | ShrinkTask | DiffTask


FORMS: Final = tuple(kind.form for kind in (FuzzTask, ShrinkTask, DiffTask))
"""The forms of all results."""


def result_of(task: Task, results: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Return the result of a task, None where there is none of its form."""
    result = results.get(task_key(task))
    return result if result is not None and fits(result, task.form) else None


def task_key(task: Task) -> str:
    """Return the key of a task in a ledger."""
    return content_hash({"kind": task.kind, "build": task.build.identity, **task.parameters})


def run_task(task: Task) -> dict[str, Any]:
    """Run a task in a worker; a bug of this tool is a result that says so, not an exception that looks like a death."""
    try:
        return task.run()
    except Exception:
        return {CRASH: traceback.format_exc()}


@lru_cache(maxsize=8)
def chosen_cases(profile: Profile, patterns: tuple[str, ...], random: tuple[int, int] | None) -> Sequence[Case]:
    """Return the cases that tasks of these parameters are parts of."""
    artifacts = trained_artifacts()
    if random is not None:
        return tuple(random_sessions(*random, artifacts | generation_models(profile)))
    return default_battery(profile, artifacts, patterns)


def case_document(result: CaseResult) -> dict[str, Any]:
    """Return what a campaign keeps of a judged case: the verdict and the first difference, no times."""
    comparison = result.comparison
    document: dict[str, Any] = {
        "name": result.case.name,
        "verdict": str(result.verdict),
        "reason": result.reason,
        "steps": comparison.steps,
        "tokens": comparison.tokens,
        "fields": sum(comparison.compared.values()),
    }
    first = comparison.first
    if first is not None and result.run is not None:
        document["group"] = group_of(result)
        document["step"] = first.index
        document["ends"] = [
            outcome(side[first.index])[:200] if first.index < len(side) else ""
            for side in (result.run.reference, result.run.build)
        ]
    if result.crash:
        document["crash"] = result.crash
    return document
