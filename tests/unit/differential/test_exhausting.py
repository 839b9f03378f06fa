"""Builds that answer with too much, grow without need, or never answer: a run stays small, ends early and says why."""

from __future__ import annotations

import gc
import time
import tracemalloc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from refruntime.cases.observation import LimitReached
from refruntime.cases.observe import MAX_KEPT_BYTES, read_diagnostics
from refruntime.cases.steps import FREE, INIT, RESET, Call, Case
from refruntime.client import MAX_RESULT_READ
from refruntime.contract.profile import Profile
from refruntime.differential.case_result import SuiteResult
from refruntime.differential.patience import MOST_DEAD, MOST_LIMITS
from refruntime.differential.run import Oracle, observe
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import Verdict
from refruntime.engines.base import EngineTrap, Limits
from refruntime.engines.wasm import WasmEngine, WasmModule
from tests.support.command_line import command
from tests.support.wat_modules import FOREVER, MEMORY, build

LARGE_MEMORY = '(memory (export "memory") 300)'
DEAD_START = build(more=f"(func $run {FOREVER}) (start $run)")


def saying(length: int) -> bytes:
    """Return a build whose every result has `length` bytes, others after each step."""
    count = "(global $n (mut i32) (i32.const 0))"
    status = "(global.set $n (i32.add (global.get $n) (i32.const 1))) (i32.store (i32.const 16) (global.get $n)) {}"
    return build(
        memory=LARGE_MEMORY,
        more=count,
        last_result_ptr="(i32.const 16)",
        last_result_len=f"(i32.const {length})",
        init_runtime=status.format("(i32.const 0)"),
        reset_context=status.format("(i32.const 0)"),
    )


def compared(module: bytes, cases: list[Case], limits: Limits | None = None, until: float | None = None) -> SuiteResult:
    compiled = WasmModule(module)
    suite = Suite(lambda: WasmEngine(compiled, limits), Oracle())
    return (suite if until is None else Suite(suite.build, Oracle(), until=until)).run(cases)


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Fail when Python objects of more than `size` bytes were alive at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


def test_results_of_16_mebibytes_end_the_run_with_one_verdict() -> None:
    """GEN-10: such a result is never copied; the build is named, and after MOST_DEAD cases given up."""
    cases = [Case(f"family/{number}", (INIT, RESET)) for number in range(200)]
    with at_most(8 * 2**20):
        result = compared(saying(16 * 2**20), cases)
    verdicts = [case.verdict for case in result.cases]
    assert verdicts == [Verdict.ONLY_WASM_FAILED] * MOST_DEAD + [Verdict.POISONED] * (200 - MOST_DEAD)
    assert "GEN-10 allows 65536" in result.cases[0].reason
    assert "last_result_len returned 16777216" in result.cases[-1].reason
    assert result.exit_code == 1


def test_long_results_are_kept_up_to_the_first_difference() -> None:
    """GEN-10: 30 cases of 30 results of 64 KiB are 56 MiB; a report needs the first that differs of each."""
    cases = [Case(f"family/{number}", (INIT, *[RESET] * 29)) for number in range(30)]
    with at_most(16 * 2**20):
        result = compared(saying(65536), cases)
    assert {case.verdict for case in result.cases} == {Verdict.MISMATCH}
    assert {len(case.run.build) for case in result.cases if case.run} == {1}
    assert all(case.comparison.first is not None for case in result.cases)


def test_one_session_keeps_no_more_than_its_host_can_bear() -> None:
    """GEN-10: a long session of long results ends as a limit, whose reason says how much it was."""
    steps = 2 + MAX_KEPT_BYTES // MAX_RESULT_READ
    (case,) = compared(saying(MAX_RESULT_READ), [Case("family/long", (INIT, *[RESET] * steps))]).cases
    assert case.verdict is Verdict.MISMATCH
    compiled = WasmModule(saying(MAX_RESULT_READ))
    seen = observe(Case("family/long", (INIT, *[RESET] * steps)), WasmEngine(compiled), Profile())
    assert isinstance(seen[-1], LimitReached)
    assert f"at most {MAX_KEPT_BYTES} are kept" in seen[-1].detail


def test_documents_of_nothing_but_brackets_are_no_documents() -> None:
    """DG-6: empty lists take thirty times their text; the contract's document has eight lists and objects."""
    assert read_diagnostics(b'{"top_k": [%s]}' % b",".join([b"[]"] * 1000), Profile()) is None
    assert read_diagnostics(b'{"top_k": [[1, 2], [3, 4]]}', Profile()) == {"top_k": [[1, 2], [3, 4]]}


@pytest.mark.parametrize("ending", ["(unreachable)", "(i32.const 0)", FOREVER])
def test_an_instance_is_gone_when_its_case_is(ending: str) -> None:
    """MEM-5: memory that a build grew is given back at once, also after a trap or a limit, without a collection."""
    module = WasmModule(build(init_runtime=ending))
    alive: list[weakref.ref[WasmEngine]] = []

    def fresh() -> WasmEngine:
        engine = WasmEngine(module, Limits(seconds=0.1))
        alive.append(weakref.ref(engine))
        return engine

    suite = Suite(fresh, Oracle())
    gc.collect()
    gc.disable()
    try:
        for number in range(4):
            suite.judge(Case(f"family/{number}", (INIT, FREE)), frozenset(), explain=False)
            assert [made() for made in alive] == [None] * len(alive)
    finally:
        gc.enable()


def test_a_trap_names_memory_that_is_full() -> None:
    """MEM-5: a build that ends because it may have no more memory is told so."""
    more = "(drop (memory.grow (i32.const 10))) (drop (memory.grow (i32.const 10))) (unreachable)"
    engine = WasmEngine(build(free_model=more), Limits(memory_bytes=16 * 65536))
    with pytest.raises(EngineTrap, match=r"\(its memory has 786432 bytes; a build may have 1048576\)"):
        engine.call("free_model")


def test_limits_beside_models() -> None:
    """MEM-1: room for the largest slice twice, and for a model in float32; never more than 32 bits."""
    assert Limits.beside([], 1.0).memory_bytes == 384 * 2**20
    assert Limits.beside([5, 2**20], 1.0).memory_bytes == (384 + 24) * 2**20
    assert Limits.beside([2**31], 1.0).memory_bytes == 2**32


def test_a_loop_in_the_start_function_is_poisoned() -> None:
    """ABI-4: after MOST_DEAD cases that end alike before their first answer no more run, with that reason."""
    cases = [Case(f"family/{number}", (INIT,)) for number in range(50)]
    began = time.monotonic()
    result = compared(DEAD_START, cases, Limits(seconds=0.2))
    assert time.monotonic() - began < 10
    assert {case.verdict for case in result.cases} == {Verdict.POISONED}
    assert result.cases[0].reason == "instantiation was stopped after 0.2 seconds"
    told = "not run: the build does not live: instantiation was stopped after 0.2 seconds"
    assert [case.reason for case in result.cases[MOST_DEAD:]] == [told] * (50 - MOST_DEAD)
    assert result.exit_code == 1


def test_cases_that_hang_later_are_given_up_too() -> None:
    """ABI-4: a build that lives and hangs in each case is stopped MOST_LIMITS times."""
    cases = [Case(f"family/{number}", (INIT, FREE)) for number in range(20)]
    result = compared(build(free_model=FOREVER), cases, Limits(seconds=0.05))
    ran = [case for case in result.cases if not case.reason.startswith("not run")]
    assert len(ran) == MOST_LIMITS


def test_a_budget_ends_the_run() -> None:
    """ABI-4: after the time of the whole run no case begins, and a call that still runs is stopped."""
    cases = [Case(f"family/{number}", (Call("free_model"),)) for number in range(20)]
    until = time.monotonic() + 0.4
    began = time.monotonic()
    result = compared(build(free_model=FOREVER), cases, Limits(seconds=60, until=until), until)
    assert time.monotonic() - began < 20
    assert result.cases[0].verdict is Verdict.POISONED
    assert result.cases[0].reason.endswith("the time of the whole run")
    assert result.cases[-1].reason == "not run: the time of the whole run is used up"
    assert result.exit_code == 1


def test_the_command_has_a_budget(tmp_path: Path) -> None:
    """ABI-4: `diff --budget` bounds a build that never answers; every case is told, none is judged."""
    path = tmp_path / "build.wasm"
    path.write_bytes(build(memory=MEMORY, init_runtime=FOREVER))
    began = time.monotonic()
    outcome = command("diff", path, "--identify", "never", "--budget", "1", "--filter", "state", "-j", "1", "--json")
    assert time.monotonic() - began < 60
    assert outcome.code == 1
    assert {case["verdict"] for case in outcome.json["cases"]} == {"POISONED"}


def test_a_trap_in_the_first_call_of_each_case_ends_the_run() -> None:
    """MEM-6: what traps alike at the first call of the first MOST_DEAD cases is not run thousands of times."""
    cases = [Case(f"family/{number}", (INIT, FREE)) for number in range(20)]
    result = compared(build(init_runtime="(unreachable)"), cases)
    assert [case.verdict for case in result.cases[:MOST_DEAD]] == [Verdict.ONLY_WASM_FAILED] * MOST_DEAD
    assert {case.verdict for case in result.cases[MOST_DEAD:]} == {Verdict.POISONED}
    assert "init_runtime trapped" in result.cases[-1].reason
