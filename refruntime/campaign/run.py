"""Run tasks on workers that may die, and count each result once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from refruntime.campaign.ledger import Ledger
from refruntime.campaign.tasks import CRASH, Task, result_of, run_task, task_key
from refruntime.campaign.workers import Workers

MOST_TRIES: Final = 12
"""Times that a task is begun before it is given up: its worker died, or the scheduler did, each time."""

MOST_OPENINGS: Final = 5
"""Times that an executor is begun before the run ends: what is done is kept, the next run goes on."""

FLUSH_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 1.0

Told = Callable[[Task, Mapping[str, Any]], object]
"""Is told of every new result."""


@dataclass
class Ran:
    """What became of the tasks: `begun` counts submissions, `again` those after a death, `lost` what never answered.

    `interrupted` says that a person ended it.
    """

    wanted: list[str] = field(default_factory=list)
    begun: int = 0
    done: int = 0
    again: int = 0
    lost: dict[str, str] = field(default_factory=dict)
    crashes: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False

    def merge(self, other: Ran) -> None:
        """Add what became of other tasks."""
        self.wanted += other.wanted
        self.begun, self.done, self.again = self.begun + other.begun, self.done + other.done, self.again + other.again
        self.lost |= other.lost
        self.crashes |= other.crashes
        self.interrupted |= other.interrupted


def run_tasks(
    tasks: Iterable[Task],
    ledger: Ledger,
    workers: Workers,
    told: Told = lambda task, result: None,
    stop: Callable[[], bool] = lambda: False,
) -> Ran:
    """Run every task that the ledger has no result of; none begins after `stop`. OSError when it cannot be written.

    An interrupt keeps what is done. Tasks of workers that died begin again, on new workers where the old executor is
    broken.
    """
    ran = Ran()
    runner = _Runner(iter(tasks), ledger, told, stop, ran)
    try:
        while not runner.finished:
            with ExitStack() as stack:
                runner.use(_opened(workers, stack, ran), workers.ahead)
    except KeyboardInterrupt:
        ran.interrupted = True
    finally:
        ledger.flush()
    return ran


def _opened(workers: Workers, stack: ExitStack, ran: Ran) -> Executor:
    """Begin an executor; where there was one before, it is tried again: workers may die while they begin."""
    tried = 0
    while True:
        try:
            executor: Executor = stack.enter_context(workers.open())
            return executor
        except Exception:
            tried += 1
            if tried == MOST_OPENINGS or not ran.begun:
                raise
            time.sleep(PAUSE_SECONDS * 2**tried)


@dataclass
class _Runner:
    tasks: Iterator[Task]
    ledger: Ledger
    told: Told
    stop: Callable[[], bool]
    ran: Ran
    waiting: list[Task] = field(default_factory=list)
    tries: dict[str, int] = field(default_factory=dict)
    flushed: float = field(default_factory=time.monotonic)
    finished: bool = False

    def use(self, executor: Executor, ahead: Callable[[], int]) -> None:
        """Run tasks on an executor until all are done or it is broken."""
        running: dict[Future[dict[str, Any]], Task] = {}
        broken = False
        while not broken:
            for task in islice(self._next_tasks(), max(0, ahead() - len(running))):
                try:
                    running[executor.submit(run_task, task)] = task
                    self.ran.begun += 1
                except Exception as error:  # whatever keeps an executor from taking work, another one may take it
                    self._again(task, error)
                    broken = True
                    break
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                broken |= not self._take(running.pop(future), future)
            if time.monotonic() - self.flushed > FLUSH_SECONDS:
                self.flushed = time.monotonic()
                self.ledger.flush()
        for task in running.values():
            self._again(task, None)
        self.finished = not broken
        if broken:
            time.sleep(PAUSE_SECONDS)

    def _next_tasks(self) -> Iterator[Task]:
        while True:
            if self.stop():
                return
            if self.waiting:
                yield self.waiting.pop()
                continue
            task = next(self.tasks, None)
            if task is None:
                return
            self.ran.wanted.append(task_key(task))
            if result_of(task, self.ledger.results) is None:
                yield task

    def _take(self, task: Task, future: Future[dict[str, Any]]) -> bool:
        """Take a result; False where the executor is of no more use."""
        try:
            result = future.result()
        except Exception as error:  # run_task raises nothing: what comes here is the death of a worker or a scheduler
            self._again(task, error)
            return _only_a_worker(error)
        key = task_key(task)
        if CRASH in result:
            self.ran.crashes[key] = result[CRASH]
            return True
        self.ran.done += 1
        if self.ledger.add(key, result):
            self.told(task, result)
        return True

    def _again(self, task: Task, error: Exception | None) -> None:
        key = task_key(task)
        self.tries[key] = self.tries.get(key, 0) + 1
        if self.tries[key] < MOST_TRIES:
            self.ran.again += 1
            self.waiting.append(task)
        else:
            self.ran.lost[key] = f"{type(error).__name__}: {error}"


def _only_a_worker(error: Exception) -> bool:
    """Say whether a failure leaves the executor in working order: Dask names a worker that died over its task."""
    return type(error).__name__ == "KilledWorker"
