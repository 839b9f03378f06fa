"""The surface of a module: what is missing, mistyped, extra or imported is told before anything of it runs."""

from __future__ import annotations

import pytest

from refruntime.engines.base import InterfaceMismatch, InvalidModule
from refruntime.engines.interface import EXPECTED, describe_function, interface_problems, visible
from refruntime.engines.wasm import MAX_MODULE_BYTES, WasmModule
from tests.support.wat_modules import MEMORY, SIGNATURES, build, to_wasm


def problems(module: bytes) -> list[str]:
    with pytest.raises(InterfaceMismatch) as caught:
        WasmModule(module)
    return [str(problem) for problem in caught.value.problems]


def test_exact_surface_is_accepted() -> None:
    """ABI-1, ABI-2: the 13 functions and the memory, with signatures written by hand, are the surface."""
    assert WasmModule(build()).size == len(build())
    assert len(SIGNATURES) == 13
    assert set(EXPECTED) == {*SIGNATURES, "memory"}


def test_exported_globals_are_ignored() -> None:
    """ABI-1: globals that a linker exports are no part of the surface."""
    vector = '(global (export "vector") (mut v128) (v128.const i64x2 0 0))'
    module = build(more=f'(global (export "__heap_base") i32 (i32.const 8)) {vector}')
    assert WasmModule(module).size == len(module)


@pytest.mark.parametrize("name", SIGNATURES)
def test_missing_export(name: str) -> None:
    """ABI-1: each of the 13 is required, and the one that is missing is named with its type."""
    found = problems(build(without=name))
    assert len(found) == 1
    assert found[0].startswith(f"missing {name}: expected function (")
    assert found[0].endswith("found nothing")


@pytest.mark.parametrize(
    ("name", "signature", "body", "found"),
    [
        ("alloc", "(param i64) (result i32)", "(i32.const 0)", "function (i64) -> i32"),
        ("dealloc", "(param i32)", "", "function (i32) -> ()"),
        ("dealloc", "(param i32 i32) (result i32)", "(i32.const 0)", "function (i32, i32) -> i32"),
        ("set_sampling_config", "(param f64 i32 f32 i64) (result i32)", "(i32.const 0)", "(f64, i32, f32, i64) -> i32"),
        ("set_sampling_config", "(param f32 i32 f32 i32) (result i32)", "(i32.const 0)", "(f32, i32, f32, i32) -> i32"),
        ("last_result_len", "(result i64)", "(i64.const 0)", "function () -> i64"),
        ("last_result_ptr", "(result i32 i32)", "(i32.const 0) (i32.const 0)", "function () -> (i32, i32)"),
        ("generate", "(param i32 i32 i32)", "", "function (i32, i32, i32) -> ()"),
        ("generate", "(result v128)", "(v128.const i64x2 0 0)", "function () -> v128"),
        ("free_model", "(result funcref)", "(ref.null func)", "function () -> funcref"),
    ],
)
def test_mistyped_export(name: str, signature: str, body: str, found: str) -> None:
    """ABI-2: another type of a parameter or result is told with both signatures; so are several results."""
    (problem,) = problems(build(signatures={name: signature}, **{name: body}))
    assert problem.startswith(f"mistyped {name}: expected function ")
    assert problem.endswith(found)


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ("(memory 2)", "missing memory: expected memory, found nothing"),
        ('(memory (export "mem") 2)', "missing memory: expected memory, found nothing"),
        ('(memory (export "memory") i64 2)', "mistyped memory: expected memory, found 64-bit memory"),
        ('(memory (export "memory") 2 4 shared)', "mistyped memory: expected memory, found shared memory"),
        ('(global (export "memory") i32 (i32.const 0))', "mistyped memory: expected memory, found global"),
        ('(table (export "memory") 1 funcref)', "mistyped memory: expected memory, found table"),
        ('(func (export "memory"))', "mistyped memory: expected memory, found function () -> ()"),
    ],
)
def test_memory(memory: str, expected: str) -> None:
    """ABI-1, ABI-2, MEM-5: the memory is exported under its name, 32-bit and not shared."""
    assert problems(build(memory=memory))[0] == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            '(func (export "version") (result i32) (i32.const 1))',
            "extra version: expected no other export, found function",
        ),
        ('(func (export "") (param f64))', "extra : expected no other export, found function (f64) -> ()"),
        ('(func (export "alloc ") (param i32) (result i32) (i32.const 0))', "extra alloc : expected no other export"),
        ('(table (export "__indirect_function_table") 1 funcref)', "extra __indirect_function_table: expected no"),
        ('(export "second" (memory 0))', "extra second: expected no other export, found memory"),
    ],
)
def test_extra_export(more: str, expected: str) -> None:
    """ABI-1: any other export than a global is a difference, also one whose name looks like another."""
    (problem,) = problems(build(more=more))
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("imported", "found"),
    [
        ('(import "env" "log" (func (param i32)))', "import env.log: expected no imports, found function (i32) -> ()"),
        ('(import "env" "g" (global i32))', "import env.g: expected no imports, found global"),
        ('(import "env" "g" (global (mut v128)))', "import env.g: expected no imports, found global"),
        ('(import "env" "t" (table 1 70000 externref))', "import env.t: expected no imports, found table"),
        (
            '(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))',
            "import wasi_snapshot_preview1.proc_exit: expected no imports, found function (i32) -> ()",
        ),
    ],
)
def test_import(imported: str, found: str) -> None:
    """ABI-1: the imports object is empty, so a module that needs an import is refused."""
    assert problems(build(memory=f"{imported} {MEMORY}")) == [found]


@pytest.mark.parametrize(
    ("memory", "found"),
    [("1 70", "memory"), ("1 300 shared", "shared memory"), ("i64 1 0x1000000000", "64-bit memory")],
)
def test_imported_function_moves_the_indices(memory: str, found: str) -> None:
    """ABI-1, ABI-2: imports come first in the index spaces, so the exports are looked up behind them."""
    imports = f'(import "a" "f" (func (result v128))) (import "a" "m" (memory {memory}))'
    assert problems(build(memory=f'{imports} (export "memory" (memory 0))'))[:2] == [
        "import a.f: expected no imports, found function () -> v128",
        f"import a.m: expected no imports, found {found}",
    ]


def test_imported_memory_is_two_problems_at_most() -> None:
    """ABI-1: a memory that is imported and exported again has the right type, but it is an import."""
    module = build(memory='(import "env" "memory" (memory 1)) (export "memory" (memory 0))')
    assert problems(module) == ["import env.memory: expected no imports, found memory"]


def test_everything_wrong_is_told_at_once() -> None:
    """ABI-1: an empty module misses all fourteen, and the message names them in published order."""
    with pytest.raises(InterfaceMismatch) as caught:
        WasmModule(to_wasm("(module)"))
    assert [problem.name for problem in caught.value.problems] == ["memory", *SIGNATURES]
    assert str(caught.value).count("missing ") == 14


def test_thousands_of_problems_give_a_short_message() -> None:
    """ABI-1: the message stays readable whatever a module exports; all rows are there for a report."""
    exports = "".join(f'(export "f{index}" (func $f))' for index in range(5000))
    with pytest.raises(InterfaceMismatch) as caught:
        WasmModule(build(more=f"(func $f) {exports}"))
    assert len(caught.value.problems) == 5000
    assert len(str(caught.value)) < 4000
    assert str(caught.value).endswith("and 4980 more")


def test_names_of_a_module_are_shown_safely() -> None:
    """ABI-1: a name cannot clear the reader's terminal or fill it."""
    name = "\\1b[2Jnothing to see\\0a" + "x" * 10_000
    (problem,) = problems(build(more=f'(func (export "{name}"))'))
    assert problem.isprintable()
    assert "[2Jnothing to see" in problem
    assert len(problem) < 300


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "begins with b''"),
        (b"\0", "not a WebAssembly module"),
        (b"\0asm", "not a WebAssembly module"),
        (b"\0asm\x02\0\0\0", "not a WebAssembly module"),
        (b"\0asm\x0d\0\x01\0", "not a WebAssembly module"),  # the header of a component
        (b"(module)", "begins with b'(module)'"),
        (b"\x7fELF\x02\x01\x01\0", "not a WebAssembly module"),
        (b"\0asm\x01\0\0\0\xff", "not valid"),
        (b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x0f", "not valid"),
        (build()[:-1], "not valid"),
        (build() + b"\0", "not valid"),
        (b"\0asm\x01\0\0\0" + bytes(MAX_MODULE_BYTES), f"at most {MAX_MODULE_BYTES}"),
    ],
)
def test_bytes_that_are_no_module(data: bytes, expected: str) -> None:
    """ABI-1: malformed bytes are refused, and the text format is not taken for a module."""
    with pytest.raises(InvalidModule) as caught:
        WasmModule(data)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "field",
    ["(memory 1)", "(type (struct (field i32)))", "(tag (param i32))", "(type $f (func)) (func (param (ref $f)))"],
)
def test_proposals_beyond_the_contract_are_refused(field: str) -> None:
    """ABI-2: a module that needs more than one memory, garbage collection or exceptions is not valid here."""
    with pytest.raises(InvalidModule):
        WasmModule(build(more=field))


def test_problem_table_by_hand() -> None:
    """ABI-1, ABI-2: the comparison itself, on a surface made by hand."""
    surface = dict(EXPECTED)
    del surface["alloc"]
    surface |= {"dealloc": "table", "__data_end": "global", "other": "function () -> ()"}
    rows = [(row.kind, row.name, row.found) for row in interface_problems([("a.b", "global")], surface)]
    assert rows == [
        ("import", "a.b", "global"),
        ("missing", "alloc", "nothing"),
        ("mistyped", "dealloc", "table"),
        ("extra", "other", "function () -> ()"),
    ]
    assert interface_problems([], EXPECTED) == ()


def test_words_for_functions() -> None:
    """ABI-2: no result, one and several are told apart."""
    assert describe_function([], []) == "function () -> ()"
    assert describe_function(["i32", "f32"], ["i64"]) == "function (i32, f32) -> i64"
    assert describe_function([], ["i32", "i32"]) == "function () -> (i32, i32)"
    assert visible("a\x1b\u202eb") == "a\ufffd\ufffdb"
