"""Random sessions as a campaign: what all batches reached and found, and the shrunk session of each group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from refruntime.campaign.ledger import Ledger
from refruntime.campaign.packed import PackedBuild
from refruntime.campaign.run import Ran, Told, run_tasks
from refruntime.campaign.tasks import FuzzTask, ShrinkTask, Task, result_of
from refruntime.campaign.workers import Workers
from refruntime.fuzz.batch import RULES, SESSIONS, SUMS, FuzzSums
from refruntime.fuzz.reached import Reached

MOST_SHRUNK: Final = 24
"""Groups whose session is shrunk, those of the earliest batches first; the others are told as they were found."""

ENOUGH_STEPS: Final = 60_000
"""Steps from which a run has to have reached everything; most have with a third of them."""


@dataclass
class Group:
    """All sessions with one first difference: how many batches met it, and the session that stands for it."""

    name: str
    batch: FuzzTask
    document: dict[str, Any]
    batches: int = 1
    calls_before: int | None = None


@dataclass
class Summary(FuzzSums):
    """The sums over all batches of one build."""

    batches: int = 0
    groups: dict[str, Group] = field(default_factory=dict)

    def add(self, task: FuzzTask, result: Mapping[str, Any]) -> None:
        """Add the result of a batch."""
        self.batches += 1
        for name in SUMS:
            setattr(self, name, getattr(self, name) + result[name])
        self.reached.add(Reached.from_document(result["reached"]))
        for document in result["findings"]:
            name = document["group"]
            known = self.groups.get(name)
            if known is None:
                self.groups[name] = Group(name, task, document)
                continue
            known.batches += 1
            if (task.seed, task.number) < (known.batch.seed, known.batch.number):
                known.batch, known.document = task, document

    @property
    def ordered(self) -> list[Group]:
        """Return the groups in the order of the batches that found them first."""
        return sorted(self.groups.values(), key=lambda group: (group.batch.seed, group.batch.number, group.name))


def fuzz(
    build: PackedBuild,
    seed: int,
    ledger: Ledger,
    workers: Workers,
    *,
    batches: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    told: Told = lambda task, result: None,
    sessions: int = SESSIONS,
    rules: int = RULES,
) -> tuple[Summary, Ran]:
    """Run so many batches, or batch after batch until `stop`; return the sums over all that have a result."""
    tasks = [FuzzTask(build, seed, number, sessions, rules) for number in range(batches or 0)]
    endless = (FuzzTask(build, seed, number, sessions, rules) for number in count())
    ran = run_tasks(tasks if batches is not None else _noted(endless, tasks), ledger, workers, told, stop)
    return summary_of(tasks, ledger), ran


def _noted(endless: Iterator[FuzzTask], noted: list[FuzzTask]) -> Iterator[Task]:
    for task in endless:
        noted.append(task)
        yield task


def summary_of(tasks: Iterable[FuzzTask], ledger: Ledger) -> Summary:
    """Return the sums over the batches that have a result, in their order."""
    summary = Summary()
    for task in tasks:
        result = result_of(task, ledger.results)
        if result is not None:
            summary.add(task, result)
    return summary


def shrink(
    summary: Summary,
    ledger: Ledger,
    workers: Workers,
    *,
    stop: Callable[[], bool] = lambda: False,
    told: Told = lambda task, result: None,
) -> Ran:
    """Put the shrunk session of each group in the place of the first that was found."""
    chosen = {group.name: ShrinkTask(group.batch, group.name) for group in summary.ordered[:MOST_SHRUNK]}
    ran = run_tasks(chosen.values(), ledger, workers, told, stop)
    for name, task in chosen.items():
        result = result_of(task, ledger.results)
        if result is not None:
            group = summary.groups[name]
            group.document, group.calls_before = {**result, "group": name}, result["calls_before"]
    return ran
