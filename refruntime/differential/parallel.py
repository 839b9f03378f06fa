"""Judge the cases of a suite in several processes, in order, so that the report is that of one process.

Every process has the whole list of cases, an oracle of its own and the build as it was compiled once; what goes to and
fro are places in the list and results. What depends on the order (which divergence is explained, after how many limits
a build is given up) is decided by the suite, which sees the results one after the other.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from refruntime.cases.features import Found
from refruntime.cases.steps import Case
from refruntime.differential.case_result import CaseResult
from refruntime.differential.run import Oracle, PairRun
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import FINE
from refruntime.engines.base import Engine

CASES_AT_ONCE: Final = 4
PARTS_AHEAD: Final = 4
"""Parts that a process may be ahead of the report: answers of a build wait in memory until they are told."""

WORTH_A_PROCESS: Final = 60
"""Cases from which another process takes less time than it needs to begin."""

_UNSENT: Final = Case("", ())
"""Stands for the case of a result on its way: the other side has it."""


@dataclass(frozen=True)
class Recipe:
    """What a process needs to make the two sides anew; everything in it can be pickled."""

    build: Callable[[], Engine]
    oracle: Callable[[], Oracle]


@dataclass(frozen=True)
class Processes:
    """A way to judge cases: at most `most` processes made from a recipe."""

    recipe: Recipe
    most: int

    def __call__(
        self, suite: Suite, cases: Sequence[Case], offered: frozenset[str], found: Found
    ) -> Iterator[CaseResult]:
        """Yield the results in the order of the cases; nothing goes on behind an iterator that is closed."""
        count = min(self.most, max(1, len(cases) // WORTH_A_PROCESS))
        done = 0
        if count > 1:
            try:
                for result in self._parallel(count, cases, offered, found):
                    done += 1
                    yield result
            except BrokenProcessPool:  # something ended a process: whatever it was shows here, case by case
                pass
        for case in cases[done:]:
            yield suite.judge(case, offered, found, explain=False)

    def _parallel(
        self, count: int, cases: Sequence[Case], offered: frozenset[str], found: Found
    ) -> Iterator[CaseResult]:
        with spawned(count, _begin, self.recipe, tuple(cases), offered, replace(found, required=None)) as pool:
            places = iter(range(0, len(cases), CASES_AT_ONCE))
            ahead = deque((at, pool.submit(_judge_some, at)) for at in islice(places, count * PARTS_AHEAD))
            while ahead:
                start, part = ahead.popleft()
                judged = part.result()
                ahead.extend((at, pool.submit(_judge_some, at)) for at in islice(places, 1))
                for at, result in enumerate(judged, start):
                    yield _restored(result, cases[at])


@contextmanager
def spawned(count: int, begin: Callable[..., None], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """Give so many processes, in each of which `begin` runs first; in the end what they do is given up."""
    context = multiprocessing.get_context("spawn")  # a process with threads cannot be forked safely
    pool = ProcessPoolExecutor(count, context, begin, arguments)
    try:
        yield pool
    finally:
        processes = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


# In the other process ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    suite: Suite
    cases: Sequence[Case]
    offered: frozenset[str]
    found: Found


_WORK: list[_Work] = []


def _begin(recipe: Recipe, cases: Sequence[Case], offered: frozenset[str], found: Found) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the process that reports
    _WORK.append(_Work(Suite(recipe.build, recipe.oracle()), cases, offered, found))


def _judge_some(start: int) -> list[CaseResult]:
    work = _WORK[0]
    some = work.cases[start : start + CASES_AT_ONCE]
    return [_sent(work.suite.judge(case, work.offered, work.found, explain=False)) for case in some]


def _sent(result: CaseResult) -> CaseResult:
    """Take out what the other side has, and the answers of a case in which nothing is left to look at."""
    run = result.run
    if run is not None:
        fine = result.verdict in FINE
        run = PairRun(_UNSENT, [] if fine else run.reference, [] if fine else run.build, run.comparison)
    return replace(result, case=_UNSENT, run=run)


def _restored(result: CaseResult, case: Case) -> CaseResult:
    run = None if result.run is None else replace(result.run, case=case)
    return replace(result, case=case, run=run)
