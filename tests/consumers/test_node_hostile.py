"""The consumer for Node with builds that misuse memory, lie, loop, or are no build (golden/FORMAT.md, section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.consumers.golden_by_hand import INIT, OK, answering, case, write_goldens
from tests.consumers.node import run_node
from tests.consumers.sessions import LOAD, TRAP, consume, only, status
from tests.support import wat_modules

# Transfers and memory ------------------------------------------------------------------------------------------------

LIST_CALLS = """
    (func $note (param i32)
        (i32.store8 (i32.add (i32.const 4096) (global.get $calls)) (local.get 0))
        (global.set $calls (i32.add (global.get $calls) (i32.const 1))))
    (global $calls (mut i32) (i32.const 0))
"""


def noting(**bodies: str) -> bytes:
    """Return a build whose result text is the list of calls of alloc (a), dealloc (d), load_model (l), generate (g)."""
    letters = {"alloc": 97, "dealloc": 100, "load_model": 108, "generate": 103}
    defaults = {"alloc": "(i32.const 1024)", "dealloc": "", "load_model": "(i32.const 0)", "generate": "(i32.const 0)"}
    noted = {
        name: f"(call $note (i32.const {code})) {bodies.get(name, defaults[name])}" for name, code in letters.items()
    }
    others = {name: body for name, body in bodies.items() if name not in letters}
    return answering(more=LIST_CALLS, last_result_len="(global.get $calls)", **noted, **others)


def test_transfers(tmp_path: Path) -> None:
    """MEM-2, MEM-3: bytes go through alloc and dealloc, no bytes through neither; a trap does not leak the buffer."""
    generate = {"generate": {"prompt": {"text": "hi"}, "max_new_tokens": 3}}
    nothing = {"generate": {"prompt": "", "max_new_tokens": 3}}
    session = case(LOAD, generate, nothing, INIT, models={"file": {"file": "models/m"}})
    done = [status("Ok", result=result) for result in (b"ald", b"aldagd", b"aldagdg", b"aldagdg")]
    assert only(tmp_path, noting(), session, done, files={"models/m": b"xyz"})["verdict"] == "MATCH"
    (tmp_path / "trap").mkdir()
    trapped = [{"trap": True}, status("Ok", result=b"agd")]
    assert only(tmp_path / "trap", noting(generate=TRAP), case(generate, INIT), trapped)["verdict"] == "MATCH"


def test_transferred_bytes_and_recipes(tmp_path: Path) -> None:
    """MEM-9: the artifact is the file, cut, patched and extended in that order; the build shows what it received."""
    copy = "(memory.copy (i32.const 4096) (local.get 0) (local.get 1)) (global.set $n (local.get 1)) (i32.const 0)"
    build = answering(load_model=copy, last_result_len="(global.get $n)", more="(global $n (mut i32) (i32.const 0))")
    recipe = {
        "file": "models/m",
        "length": 6,
        "patch": [{"at": 0, "hex": "5859"}, {"at": 1, "hex": "5a"}],
        "append": {"hex": "2b2d", "repeat": 2},
    }
    whole = b"XZcdef+-+-"
    entry = only(
        tmp_path,
        build,
        case(LOAD, models={"file": recipe}),
        [status("Ok", result=whole)],
        files={"models/m": b"abcdefghij"},
        artifacts={("abi/case", "file"): whole},
    )
    assert entry["verdict"] == "MATCH"


def test_memory_that_grew(tmp_path: Path) -> None:
    """MEM-5: after growth the new memory is read and written, not an old view of it."""
    grow = "(drop (memory.grow (i32.const 1))) (i32.const 70000)"
    echo = "(memory.copy (i32.const 250000) (local.get 0) (local.get 1)) (i32.const 0)"
    build = answering(
        alloc=f"(drop (memory.grow (i32.const 2))) {grow}",
        generate=echo,
        last_result_ptr="(i32.const 250000)",
        last_result_len="(i32.const 2)",
    )
    session = case({"generate": {"prompt": {"text": "hi"}, "max_new_tokens": 1}})
    assert only(tmp_path, build, session, [status("Ok", result=b"hi")])["verdict"] == "MATCH"


def test_places(tmp_path: Path) -> None:
    """MEM-1: bound results with offsets are addresses; one whose call trapped ends the case with an error."""
    steps = [
        {"call": ["alloc", 8], "bind": "buffer"},
        {"write": "buffer+1", "bytes": {"text": "hey"}},
        {"call": ["generate", "buffer+1", 3, 1]},
        {"call": ["dealloc", "buffer", 8]},
    ]
    echo = "(memory.copy (i32.const 4096) (local.get 0) (local.get 1)) (i32.const 0)"
    build = answering(generate=echo, last_result_len="(i32.const 3)")
    answers = [{"value": "non-zero"}, {"none": True}, status("Ok", result=b"hey"), {"none": True}]
    assert only(tmp_path, build, case(*steps), answers)["verdict"] == "MATCH"
    (tmp_path / "trap").mkdir()
    entry = only(tmp_path / "trap", answering(alloc=TRAP), case(*steps), [{"trap": True}, *answers[1:]])
    assert (entry["verdict"], entry["first_difference"]["step"]) == ("ONLY_WASM_FAILED", 1)
    assert "buffer has no value" in entry["reason"]


@pytest.mark.parametrize(
    ("bodies", "reason"),
    [
        ({"last_result_ptr": "(i32.const -1)", "last_result_len": "(i32.const 2)"}, "reach past memory"),
        ({"last_result_len": "(i32.const -1)"}, "at most 16777216"),
        ({"get_diagnostics_len": "(i32.const 16777217)"}, "at most 16777216"),
        ({"alloc": "(i32.const 0)"}, "alloc(2) returned 0"),
        ({"alloc": "(i32.const 0x7fffffff)"}, "reach past memory"),
        ({"generate": wat_modules.RECURSE, "more": wat_modules.RECURSION}, "trapped"),
        ({"more": "(func $begin unreachable) (start $begin)"}, "instantiation failed"),
    ],
)
def test_hostile_answers(tmp_path: Path, bodies: Mapping[str, str], reason: str) -> None:
    """MEM-6, MEM-7: pointers outside of memory, hopeless lengths and endless recursion fail the build, not the host."""
    entry = only(
        tmp_path, answering(**bodies), case({"generate": {"prompt": {"text": "hi"}, "max_new_tokens": 1}}), [OK]
    )
    assert entry["verdict"] == "ONLY_WASM_FAILED"
    assert reason in entry["reason"]


@pytest.mark.slow
def test_long_text(tmp_path: Path) -> None:
    """MEM-7: 16 MiB of text are read and compared; of a difference only the surroundings are shown to people."""
    length = 16 * 2**20
    build = answering(
        init_runtime=f"(memory.fill (i32.const 65536) (i32.const 97) (i32.const {length})) (i32.const 0)",
        last_result_ptr="(i32.const 65536)",
        last_result_len=f"(i32.const {length})",
        more="(func $begin (drop (memory.grow (i32.const 300)))) (start $begin)",
    )
    cases = {"abi/case": (case(INIT), [status("Ok", result=b"a" * 1000 + b"b")])}
    write_goldens(tmp_path / "golden", cases)
    (tmp_path / "build.wasm").write_bytes(build)
    text = run_node(tmp_path / "build.wasm", "--golden", tmp_path / "golden").out
    assert f"1001 bytes expected, {length} found; they differ at byte 1000" in text
    assert len(text) < 3000


@pytest.mark.parametrize(
    ("pages", "verdicts"), [(1024, {"MATCH"}), pytest.param(1, {"MATCH", "POISONED"}, marks=pytest.mark.slow)]
)
def test_growth_without_end(tmp_path: Path, pages: int, verdicts: set[str]) -> None:
    """MEM-5: growth is refused somewhere, and the build goes on; one that takes too long with it is stopped."""
    growing = wat_modules.GROW_UNTIL_REFUSED.replace("memory.grow (i32.const 1)", f"memory.grow (i32.const {pages})")
    build = answering(init_runtime=f"{growing} (drop) (i32.const 0)")
    done = consume(tmp_path, build, {"abi/case": (case(INIT), [OK])}, "--timeout", "3")
    assert set(done.verdicts.values()) <= verdicts


# Limits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["generate", "last_result_len", "start"]
    + [pytest.param(name, marks=pytest.mark.slow) for name in ("init_runtime", "alloc", "dealloc")],
)
def test_loops_are_stopped(tmp_path: Path, name: str) -> None:
    """ABI-4: a call that does not return is stopped and named, wherever it loops; the next case runs all the same."""
    loops = (
        {"more": f"(func $begin {wat_modules.FOREVER}) (start $begin)"}
        if name == "start"
        else {name: wat_modules.FOREVER}
    )
    generate = {"generate": {"prompt": {"text": "hi"}, "max_new_tokens": 1}}
    cases = {"abi/a": (case(INIT, generate), [OK, OK]), "abi/b": (case({"call": ["last_result_ptr"]}), [{"value": 4}])}
    done = consume(tmp_path, answering(**loops), cases, "--timeout", "0.3")
    first, second = done.report["cases"]
    assert (first["verdict"], done.code) == ("POISONED", 1)
    assert f"{'instantiation' if name == 'start' else name} was stopped after 0.3 s" in first["reason"]
    assert second["verdict"] == ("POISONED" if name == "start" else "MISMATCH")


def test_a_difference_before_the_loop_counts(tmp_path: Path) -> None:
    """ABI-4: what a build showed before it was stopped is compared, and differs first."""
    build = answering(generate_next_token=wat_modules.FOREVER)
    session = case(INIT, {"call": ["generate_next_token"]})
    done = consume(tmp_path, build, {"abi/case": (session, [status("Ok", kv_length=1), OK])}, "--timeout", "0.3")
    assert done.verdicts == {"abi/case": "MISMATCH"}


def test_a_build_that_always_hangs_is_given_up(tmp_path: Path) -> None:
    """ABI-4: after five cases that a limit stopped, the rest is POISONED without being run."""
    cases = {f"abi/case-{number}": (case(INIT), [OK]) for number in range(8)}
    done = consume(tmp_path, answering(init_runtime=wat_modules.FOREVER), cases, "--timeout", "0.2")
    assert set(done.verdicts.values()) == {"POISONED"}
    reasons = [entry["reason"].partition(":")[0] for entry in done.report["cases"]]
    assert reasons == ["init_runtime was stopped after 0.2 s"] * 5 + ["not run"] * 3


# Surface -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"without": "generate"}, ("generate", "function (i32, i32, i32) -> i32", "nothing")),
        ({"memory": "(memory 1)"}, ("memory", "memory", "nothing")),
        ({"more": '(func (export "version") (result i32) (i32.const 1))'},
         ("version", "no other export", "function () -> i32")),
        ({"more": '(table (export "t") 1 funcref)'}, ("t", "no other export", "table")),
        ({"signatures": {"alloc": "(param i64) (result i32)"}},
         ("alloc", "function (i32) -> i32", "function (i64) -> i32")),
        ({"signatures": {"dealloc": "(param i32 i32) (result i32)"}, "dealloc": "(i32.const 0)"},
         ("dealloc", "function (i32, i32) -> ()", "function (i32, i32) -> i32")),
        ({"memory": '(import "env" "f" (func (param f64))) (memory (export "memory") 2)'},
         ("env.f", "no import", "function (f64) -> ()")),
        ({"memory": '(memory (export "memory") 1 2 shared)'}, ("memory", "memory", "shared memory")),
    ],
)  # fmt: skip
def test_surface(tmp_path: Path, changes: dict[str, Any], problem: tuple[str, str, str]) -> None:
    """ABI-1, ABI-2: every import, and every export that is missing, mistyped or extra, is told; nothing is run."""
    done = consume(tmp_path, wat_modules.build(**changes), {"abi/case": (case(INIT), [OK])})
    assert (done.code, done.report["exit_code"], done.report["cases"]) == (1, 1, [])
    assert [tuple(item.values()) for item in done.report["problems"]] == [problem]


def test_exported_globals_are_ignored(tmp_path: Path) -> None:
    """ABI-1: a linker exports globals such as `__heap_base`."""
    build = answering(more='(global (export "__heap_base") i32 (i32.const 9))')
    assert only(tmp_path, build, case(INIT), [OK])["verdict"] == "MATCH"


@pytest.mark.parametrize("data", [b"", b"\0asm", b"\0asm\1\0\0\0\7", b"(module)", b"\x7fELF" + bytes(64)])
def test_no_module(tmp_path: Path, data: bytes) -> None:
    """ABI-1: a file that is no module is refused with exit code 2; an empty module lacks every export."""
    done = consume(tmp_path, data, {"abi/case": (case(INIT), [OK])})
    assert (done.code, done.out) == (2, "")
    assert "not a WebAssembly module" in done.err
