"""Cases times builds: the tasks that fill such a matrix, and the matrix of their results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from refruntime.campaign.fuzzing import Summary, summary_of
from refruntime.campaign.ledger import Ledger
from refruntime.campaign.packed import PackedBuild
from refruntime.campaign.tasks import CASES_OF_A_TASK, DiffTask, FuzzTask, Task, chosen_cases, result_of
from refruntime.differential.verdict import FINE, Verdict

FUZZ: Final = "fuzz"
"""Row of the sessions of `FuzzTask`s."""


@dataclass(frozen=True)
class Work:
    """What is done with each build: cases of the battery, random sessions of a seed, batches of the state machine."""

    patterns: tuple[str, ...] = ()
    battery: bool = True
    random: int = 0
    batches: int = 0
    seed: int = 1

    @property
    def document(self) -> dict[str, Any]:
        """Return JSON-ready values that name the work."""
        return {**vars(self), "patterns": list(self.patterns)}

    def diff_tasks(self, build: PackedBuild) -> list[DiffTask]:
        """Return the tasks that judge cases on a build."""
        randoms = ([None] if self.battery else []) + ([(self.seed, self.random)] if self.random else [])
        tasks = []
        for random in randoms:
            patterns = self.patterns if random is None else ()
            total = len(chosen_cases(build.profile, patterns, random))
            for first in range(0, total, CASES_OF_A_TASK):
                last = min(total, first + CASES_OF_A_TASK)
                tasks.append(DiffTask(build, patterns, random, first, last))
        return tasks

    def fuzz_tasks(self, build: PackedBuild) -> list[FuzzTask]:
        """Return the batches of random sessions on a build."""
        return [FuzzTask(build, self.seed, number) for number in range(self.batches)]


def all_tasks(work: Work, builds: Sequence[PackedBuild]) -> Iterator[Task]:
    """Yield the tasks of all builds in turn, so that no build waits for the others."""
    rows: list[list[Task]] = [[*work.diff_tasks(build), *work.fuzz_tasks(build)] for build in builds]
    for place in range(max(map(len, rows), default=0)):
        yield from (row[place] for row in rows if place < len(row))


@dataclass
class Column:
    """The results of one build: verdicts by family, every case that is not fine, the sums of random sessions."""

    build: PackedBuild
    families: dict[str, Counter[str]] = field(default_factory=dict)
    failed: list[Mapping[str, Any]] = field(default_factory=list)
    cases: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    fuzz: Summary = field(default_factory=Summary)
    missing: int = 0

    @property
    def steps(self) -> int:
        """Return the number of compared steps."""
        return self.fuzz.steps + sum(int(case["steps"]) for case in self.cases.values())

    @property
    def verdicts(self) -> set[Verdict]:
        """Return all verdicts of cases."""
        return {Verdict(name) for counts in self.families.values() for name in counts}

    @property
    def fine(self) -> bool:
        """Say whether something was compared, nothing is missing, and nothing differs."""
        return self.steps > 0 and not self.missing and not self.failed and not self.fuzz.groups

    def cell(self, family: str) -> tuple[int, int]:
        """Return how many cases of a family are fine, and how many there are; of sessions how many do not differ."""
        if family == FUZZ:
            return self.fuzz.sessions - self.fuzz.differing, self.fuzz.sessions
        counts = self.families.get(family, Counter())
        return sum(counts[name] for name in FINE), counts.total()


def column_of(work: Work, build: PackedBuild, ledger: Ledger) -> Column:
    """Return the results of a build in the order of its cases, whatever the order in which they came."""
    column = Column(build)
    for task in work.diff_tasks(build):
        result = result_of(task, ledger.results)
        if result is None:
            column.missing += task.last - task.first
            continue
        for case in result["cases"]:
            family = case["name"].partition("/")[0]
            column.families.setdefault(family, Counter())[case["verdict"]] += 1
            column.cases[case["name"]] = case
            if Verdict(case["verdict"]) not in FINE:
                column.failed.append(case)
    batches = work.fuzz_tasks(build)
    column.fuzz = summary_of(batches, ledger)
    column.missing += len(batches) - column.fuzz.batches
    return column


def rows_of(columns: Sequence[Column]) -> list[str]:
    """Return the families of all columns in order of first appearance, sessions last."""
    names = dict.fromkeys(name for column in columns for name in column.families)
    return [*names, *([FUZZ] if any(column.fuzz.sessions for column in columns) else [])]


def groups_of(column: Column) -> dict[str, list[str]]:
    """Return first difference -> names of the cases that show it."""
    groups: dict[str, list[str]] = {}
    for case in column.failed:
        groups.setdefault(case.get("group") or case["reason"] or case["verdict"], []).append(case["name"])
    return groups
