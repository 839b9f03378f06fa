"""Builds that loop, recurse, grow, lie or break off: each is stopped and told, and the process goes on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from refruntime.client import Client, TextTooLong, TransferFailed
from refruntime.engines.base import EngineError, EngineLimit, EngineTrap, InvalidModule, Limits, MemoryFault
from refruntime.engines.wasm import WasmEngine, WasmModule
from tests.support.wat_modules import (
    FOREVER,
    GROW_UNTIL_REFUSED,
    MEMORY,
    RECURSE,
    RECURSION,
    SIGNATURES,
    build,
    custom_section,
    leb128,
)

SHORT = Limits(seconds=0.2)
PATIENCE = 20.0
"""Seconds within which a stopped call must have come back, also on a busy machine."""


@pytest.fixture(autouse=True)
def process_goes_on() -> Iterator[None]:
    """Whatever a module did, the call came back, and a decent module still runs afterwards."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < PATIENCE
    assert WasmEngine(build(init_runtime="(i32.const 3)")).call("init_runtime") == 3


def client_of(module: bytes, limits: Limits = SHORT) -> Client:
    return Client(WasmEngine(WasmModule(module), limits))


# Loops ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIGNATURES)
def test_endless_loop_in_any_export(name: str) -> None:
    """ABI-4: a call that does not come back is stopped after its time, and the instance takes no more calls."""
    engine = WasmEngine(build(**{name: FOREVER}), SHORT)
    zeros = [0] * SIGNATURES[name].partition("(result")[0].count("32") + [0] * SIGNATURES[name].count("i64")
    started = time.monotonic()
    with pytest.raises(EngineLimit, match=f"{name} was stopped after 0.2 seconds"):
        engine.call(name, *zeros)
    assert time.monotonic() - started >= 0.2
    started = time.monotonic()
    for _ in range(25):  # if these ran, they would take five seconds
        with pytest.raises(EngineLimit, match=f"{name} was stopped"):
            engine.call(name, *zeros)
    assert time.monotonic() - started < 2
    with pytest.raises(EngineLimit, match=f"{name} was stopped"):
        engine.call("init_runtime")


@pytest.mark.parametrize(
    "loop",
    [
        "(loop $again (call $nothing) (br $again))",
        "(loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 131072)) (br $again))",
        "(loop $again (br_if $again (i32.const 1)))",
        "(return_call $tail)",
        "(call_indirect (type $void) (i32.const 0))",
    ],
)
def test_endless_loops_of_other_shapes(loop: str) -> None:
    """ABI-4: loops over calls, bulk operations, branches, tail calls and tables are stopped or trap."""
    more = "(func $nothing) (func $tail (return_call $tail)) (type $void (func)) (table funcref (elem $loop))"
    engine = WasmEngine(build(more=f"{more} (func $loop {loop})", dealloc="(call $loop)"), SHORT)
    with pytest.raises((EngineLimit, EngineTrap), match=r"stopped after|call stack exhausted"):
        engine.call("dealloc", 0, 0)


def test_time_is_counted_for_each_call() -> None:
    """ABI-4: many quick calls that take longer together than one may are not stopped."""
    engine = WasmEngine(build(), Limits(seconds=0.1))
    deadline = time.monotonic() + 0.5
    calls = 0
    while time.monotonic() < deadline:
        assert engine.call("init_runtime") == 0
        calls += 1
    assert calls > 100


def test_deadlines_of_two_instances_are_apart() -> None:
    """ABI-4: stopping one instance does not stop another one of the same module that may run longer."""
    count = "(local $n i64) (loop $again (br_if $again (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 1)))"
    module = WasmModule(build(init_runtime=f"{count} (i64.const 1500000000)))) (i32.const 9)", free_model=FOREVER))
    patient, stopped = WasmEngine(module), WasmEngine(module, SHORT)
    answers: list[int | None] = []
    thread = threading.Thread(target=lambda: answers.append(patient.call("init_runtime")))
    thread.start()
    with pytest.raises(EngineLimit):
        stopped.call("free_model")
    thread.join()
    assert answers == [9]


def test_clock_ends_when_nothing_runs() -> None:
    """ABI-4: the thread that counts time is no burden on a process that is done with its builds."""
    engine = WasmEngine(build())
    assert engine.call("init_runtime") == 0
    assert any(thread.name == "wasm-deadlines" for thread in threading.enumerate())
    deadline = time.monotonic() + PATIENCE / 2
    while any(thread.name == "wasm-deadlines" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert engine.call("init_runtime") == 0


# Instantiation -------------------------------------------------------------------------------------------------------


def test_start_function_that_loops() -> None:
    """ABI-4: what a module does on its own when it is instantiated has a deadline too."""
    with pytest.raises(EngineLimit, match="instantiation was stopped"):
        WasmEngine(WasmModule(build(more=f"(func $run {FOREVER}) (start $run)")), SHORT)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("(func $run (unreachable)) (start $run)", "unreachable"),
        (f"{RECURSION} (func $run (drop {RECURSE})) (start $run)", "call stack exhausted"),
        ('(data (i32.const 131071) "two bytes")', "out of bounds memory access"),
        ('(data (i32.const -1) "x")', "out of bounds memory access"),
        ("(table 1 funcref) (elem (i32.const 1) $run) (func $run)", "out of bounds table access"),
    ],
)
def test_instantiation_that_traps(more: str, message: str) -> None:
    """MEM-6: a start function that traps, and data or elements outside of their place, are traps."""
    with pytest.raises(EngineTrap, match=f"instantiation trapped: .*{message}"):
        WasmEngine(build(more=more))


@pytest.mark.parametrize(
    ("memory", "more", "message"),
    [
        ('(memory (export "memory") 65536)', "", "memory minimum size of 65536 pages exceeds memory limits"),
        (MEMORY, "(table 4000000000 funcref)", "table minimum size of 4000000000 elements exceeds table limits"),
        (MEMORY, "(table 1 funcref)" * 20, "table count too high"),
    ],
)
def test_instances_that_ask_for_too_much(memory: str, more: str, message: str) -> None:
    """MEM-5: a memory or tables beyond the limits are refused before they are made."""
    with pytest.raises(EngineLimit, match=message):
        WasmEngine(build(memory=memory, more=more))


def test_memory_of_no_pages() -> None:
    """MEM-5: a module without a single page has nothing to read or write."""
    engine = WasmEngine(build(memory='(memory (export "memory") 0)'))
    assert engine.memory_size == 0
    assert engine.read(0, 0) == b""
    with pytest.raises(MemoryFault):
        engine.read(0, 1)
    with pytest.raises(MemoryFault):
        Client(engine).load_model(b"model")


# Growth --------------------------------------------------------------------------------------------------------------


def test_growth_is_refused_at_the_limit() -> None:
    """MEM-5: `memory.grow` gives -1 at the limit, here 16 pages, and the module goes on."""
    engine = WasmEngine(build(free_model=GROW_UNTIL_REFUSED), Limits(memory_bytes=16 * 65536 + 65535))
    assert engine.call("free_model") == 16
    assert engine.memory_size == 16 * 65536


def test_growth_loop_that_ignores_the_refusal() -> None:
    """MEM-5, ABI-4: growing for ever takes the memory that is allowed and the time that is allowed, no more."""
    loop = "(loop $again (drop (memory.grow (i32.const 1))) (br $again)) (unreachable)"
    engine = WasmEngine(build(free_model=loop), Limits(seconds=0.2, memory_bytes=2**24))
    with pytest.raises(EngineLimit, match="stopped"):
        engine.call("free_model")
    assert engine.memory_size == 2**24


def test_refused_growth_shows_as_failed_transfer() -> None:
    """MEM-1, MEM-5: an allocator that cannot grow gives 0, and the message says how large memory is."""
    alloc = """(if (result i32) (i32.eq (memory.grow (i32.const 100)) (i32.const -1))
        (then (i32.const 0)) (else (i32.const 131072)))"""
    client = Client(WasmEngine(build(alloc=alloc), Limits(memory_bytes=50 * 65536)))
    with pytest.raises(TransferFailed, match=r"alloc\(5\) returned 0; memory has 131072 bytes"):
        client.load_model(b"model")


def test_table_growth_is_bounded() -> None:
    """MEM-5: tables are memory too."""
    body = "(drop (table.grow $t (ref.null func) (i32.const 1000000000))) (table.size $t)"
    assert WasmEngine(build(more="(table $t 1 funcref)", free_model=body)).call("free_model") == 1


# Recursion -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_thread", [False, True])
def test_recursion_without_end(in_thread: bool) -> None:
    """MEM-6: an exhausted stack is a trap, in the main thread and in another one, again and again."""
    engine = WasmEngine(build(more=RECURSION, init_runtime=RECURSE, free_model="(i32.const 4)"))
    seen: list[str] = []

    def run() -> None:
        for _ in range(3):
            try:
                engine.call("init_runtime")
            except EngineTrap as trap:
                seen.append(str(trap))

    if in_thread:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    else:
        run()
    assert seen == ["init_runtime trapped: call stack exhausted"] * 3
    assert engine.call("free_model") == 4


# Lies about memory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pointer", "length"),
    [("131072", "1"), ("-1", "1"), ("1", "131072"), ("131071", "2"), ("-16", "16"), ("65536", "65537")],
)
def test_result_outside_memory(pointer: str, length: str) -> None:
    """MEM-7, MEM-6: a result or document that does not lie in memory is told, not read."""
    module = build(last_result_ptr=f"(i32.const {pointer})", last_result_len=f"(i32.const {length})")
    with pytest.raises(MemoryFault, match="outside memory of 131072 bytes"):
        client_of(module).result()
    module = build(get_diagnostics_ptr=f"(i32.const {pointer})", get_diagnostics_len=f"(i32.const {length})")
    with pytest.raises(MemoryFault, match="outside memory of 131072 bytes"):
        client_of(module).diagnostics()


@pytest.mark.parametrize("length", ["-1", "262145", "1000000000"])
def test_result_of_absurd_length(length: str) -> None:
    """GEN-10, MEM-7: a length far beyond any result is told, even when memory is that large."""
    module = build(
        memory='(memory (export "memory") 20000)',
        last_result_ptr="(i32.const 1)",
        last_result_len=f"(i32.const {length})",
        get_diagnostics_ptr="(i32.const 1)",
        get_diagnostics_len=f"(i32.const {length})",
    )
    client = client_of(module, replace(SHORT, memory_bytes=2**31))
    for read in (client.result, client.diagnostics):
        with pytest.raises(TextTooLong, match=str(int(length) % 2**32)):
            read()


def test_null_result_is_empty() -> None:
    """MEM-6, MEM-7: pointer 0 is what the getters give when the lock is unavailable; its length means nothing."""
    assert client_of(build(last_result_len="(i32.const -1)")).result() == b""


@pytest.mark.parametrize("pointer", ["131072", "131070", "-1", "-5"])
def test_allocation_outside_memory(pointer: str) -> None:
    """MEM-1: a region that `alloc` names but memory does not have is told, and given back."""
    freed = "(i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1))"
    client = client_of(build(alloc=f"(i32.const {pointer})", dealloc=freed))
    with pytest.raises(MemoryFault):
        client.generate(b"hello", 1)
    assert client.engine.read(0, 8) == (int(pointer) % 2**32).to_bytes(4, "little") + b"\x05\0\0\0"


# Compilation ---------------------------------------------------------------------------------------------------------


def test_compilation_that_takes_too_long() -> None:
    """ABI-4: compilation cannot be interrupted, but it is left behind after its time."""
    body = "(loop $l (br_if $l (local.get 0)))" * 3000
    started = time.monotonic()
    with pytest.raises(EngineLimit, match="compilation was abandoned"):
        WasmModule(build(alloc=f"{body} (i32.const 0)"), Limits(seconds=0.01))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", ["name", "producers", "linking", ".debug_info", "tinyrustlm.abi", "\N{PILE OF POO}"])
def test_broken_custom_sections_do_not_matter(name: str) -> None:
    """ABI-1: custom sections are no part of what runs; names that are no names are not shown."""
    module = build(free_model="(unreachable)") + custom_section(name, b"\x01\x05\x00\xff\xfe\xff\xff" * 9)
    with pytest.raises(EngineTrap) as caught:
        WasmEngine(module).call("free_model")
    assert caught.value.backtrace.isprintable()


def test_long_and_unprintable_function_names() -> None:
    """MEM-6: a backtrace cannot flood or clear the reader's terminal."""
    name = b"\x1b[2J" + b"x" * 5000
    function_names = b"\x01" + leb128(list(SIGNATURES).index("free_model")) + leb128(len(name)) + name
    content = b"\x01" + leb128(len(function_names)) + function_names
    with pytest.raises(EngineTrap) as caught:
        WasmEngine(build(free_model="(unreachable)") + custom_section("name", content)).call("free_model")
    assert "[2Jxxx" in caught.value.backtrace
    assert caught.value.backtrace.isprintable()
    assert len(caught.value.backtrace) < 300


@pytest.mark.parametrize("seed", range(20))
def test_damaged_modules(seed: int) -> None:
    """ABI-1: a module with a few wrong bytes is refused, or runs and is bounded; nothing else can happen."""
    whole = build(more=f'{RECURSION} (global (export "__heap_base") i32 (i32.const 8))', free_model=RECURSE)
    generator = random.Random(seed)
    refused = 0
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            damaged[generator.randrange(8, len(damaged))] = generator.randrange(256)
        try:
            engine = WasmEngine(WasmModule(bytes(damaged)), SHORT)
            engine.call("free_model")
        except EngineError as error:
            refused += isinstance(error, InvalidModule)
    assert refused > 5
