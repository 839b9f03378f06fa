"""Several processes give the report of one, whatever happens to them."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

import pytest

pytest.importorskip("wasmtime")

from refruntime.battery.models.slm1 import story_model
from refruntime.cases.features import Found
from refruntime.cases.steps import INIT, NEXT_TOKEN, RESET, Case, Generate, Load
from refruntime.contract.profile import Profile
from refruntime.differential import parallel
from refruntime.differential.case_result import CaseResult, SuiteResult
from refruntime.differential.parallel import Processes, Recipe
from refruntime.differential.report.json_document import json_document
from refruntime.differential.run import Oracle, PairRun
from refruntime.differential.runner import MOST_EXPLAINED
from refruntime.differential.suite import Suite
from refruntime.engines.base import Engine
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.numerics import Seq32
from refruntime.numerics.compiled.threads import processors
from tests.support.builds import MUTANTS
from tests.unit.differential.test_diff_report import ABOUT

PROFILE = Profile()
STORY = {"story": story_model(PROFILE)}
STEPS = (INIT, Load("story"), Generate(b"a", 2), RESET, NEXT_TOKEN)
CASES = [Case(f"family/{number}", STEPS[: 1 + number % 5], STORY, ("GEN-5",)) for number in range(40)]


def oracle() -> Oracle:
    """Return what a process compares with."""
    return Oracle(PROFILE, Seq32())


def ending(parent: int, fresh: partial[Engine]) -> Engine:
    """Return a build that ends every process but one."""
    if os.getpid() != parent:
        os._exit(7)
    return fresh()


def report(result: SuiteResult) -> dict[str, object]:
    """Return all that a report says, but for times."""
    document = json_document(result, ABOUT)
    for case in document["cases"]:
        case.pop("seconds", None)
    return document


@pytest.fixture(autouse=True)
def _processes_for_few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "WORTH_A_PROCESS", 10)


@pytest.fixture(scope="module")
def fresh() -> partial[Engine]:
    """A build that forgets to clear what a reset clears."""
    return partial(WasmEngine, WasmModule(MUTANTS["reset_keeps_kv"].read_bytes()))


def test_the_report_is_that_of_one_process(fresh: partial[Engine]) -> None:
    """ABI-1: same results in the same order for every number of processes, explanations of the first few included."""
    seen: list[list[str]] = []

    class Said:
        lines = (("first", "something"),)
        gap = None

        def document(self) -> dict[str, str]:
            return {"said": "something"}

    def explain(run: PairRun) -> Said:
        assert run.reference
        assert run.build
        seen[-1].append(run.case.name)
        return Said()

    results = []
    for judged in (None, Processes(Recipe(fresh, oracle), 1), Processes(Recipe(fresh, oracle), 2)):
        seen.append([])
        results.append(Suite(fresh, oracle(), explain, judged=judged).run(CASES * 3))
    assert [result.case for result in results[2].cases] == CASES * 3
    assert report(results[0]) == report(results[1]) == report(results[2])
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == MOST_EXPLAINED
    assert len({result.verdict for result in results[2].cases}) > 1


def test_fail_fast_and_interrupts_end_the_others(fresh: partial[Engine]) -> None:
    """ABI-1: what was compared before an interrupt is kept, the rest is said not to have run: exit code 130."""
    done: list[CaseResult] = []

    def interrupted(result: CaseResult) -> None:
        done.append(result)
        if len(done) == 7:
            raise KeyboardInterrupt

    suite = Suite(fresh, oracle(), judged=Processes(Recipe(fresh, oracle), 2))
    result = suite.run(CASES, after_case=interrupted)
    assert result.interrupted
    assert result.exit_code == 130
    assert (len(result.cases), result.skipped) == (7, 33)
    assert [kept.case.name for kept in result.cases] == [case.name for case in CASES[:7]]
    stopped = suite.run(CASES, max_fail=1)
    assert stopped.exit_code == 1
    assert 0 < len(stopped.cases) < len(CASES)


def test_a_process_that_ends_is_replaced_by_this_one(fresh: partial[Engine]) -> None:
    """ABI-1: what ends a process leaves no case out."""
    recipe = Recipe(partial(ending, os.getpid(), fresh), oracle)
    result = Suite(fresh, oracle(), judged=Processes(recipe, 2)).run(CASES)
    assert report(result) == report(Suite(fresh, oracle()).run(CASES))


def test_few_cases_take_no_other_process(fresh: partial[Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    """ABI-1: below twice the number of cases that are worth one, all are judged here."""
    monkeypatch.delattr(parallel, "ProcessPoolExecutor")
    judged = Processes(Recipe(fresh, oracle), 8)
    suite = Suite(fresh, oracle())
    results = list(judged(suite, CASES[:19], suite.offered(), Found()))
    assert [replace(result, seconds=0.0).case for result in results] == CASES[:19]
    assert processors() >= 1
