"""The engine over wasmtime: numbers, memory, instances, traps, and what happens when wasmtime is not there."""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import math
import struct
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime.engines.base import EngineMissing, EngineTrap, Limits, MemoryFault
from refruntime.engines.wasm import WasmEngine, WasmModule
from tests.support.wat_modules import RECURSE, RECURSION, SIGNATURES, build

ECHO = WasmModule(
    build(
        alloc="(local.get 0)",
        dealloc="(i32.store (i32.const 100) (local.get 0)) (i32.store (i32.const 104) (local.get 1))",
        set_sampling_config="""
            (f32.store (i32.const 200) (local.get 0))
            (i32.store (i32.const 204) (local.get 1))
            (f32.store (i32.const 208) (local.get 2))
            (i64.store (i32.const 216) (local.get 3))
            (i32.const -1)""",
        generate="(i32.add (i32.mul (local.get 0) (i32.const 100)) (i32.sub (local.get 1) (local.get 2)))",
        load_model="(drop (memory.grow (local.get 0))) (memory.size)",
        last_result_len="(i32.load (i32.const 300))",
        free_model="(i32.store (i32.const 300) (i32.const 7)) (i32.const 0)",
    )
)
"""A module that gives back what it is given, in its results or in memory."""


@pytest.fixture(scope="module")
def echo() -> WasmEngine:
    return WasmEngine(ECHO)


# Numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (0, 0),
        (2**31, 2**31),
        (2**32 - 1, 2**32 - 1),
        (-1, 2**32 - 1),
        (2**32, 0),
        (2**40 + 5, 5),
        (-(2**63), 0),
        (3.99, 3),
        (-3.99, 2**32 - 3),
        (1e300, 0),
        (float(2**53 + 2), 2),
        (math.nan, 0),
        (math.inf, 0),
        (True, 1),
    ],
)
def test_i32_by_hand(echo: WasmEngine, given: float, seen: int) -> None:
    """ABI-3, ABI-2: an i32 is taken modulo 2^32 on the way in, and has its unsigned meaning on the way out."""
    assert echo.call("alloc", given) == seen


@settings(deadline=None)
@given(values=st.tuples(*[st.integers(-(2**70), 2**70)] * 3))
def test_i32_arguments_arrive_in_order(values: tuple[int, int, int]) -> None:
    """ABI-3: every parameter is converted, and none is exchanged; arithmetic of the module is modulo 2^32."""
    first, second, third = values
    engine = WasmEngine(ECHO)
    assert engine.call("generate", first, second, third) == (first * 100 + second - third) % 2**32
    assert engine.call("dealloc", first, second) is None
    assert engine.read(100, 8) == bytes(ctypes.c_uint32(first)) + bytes(ctypes.c_uint32(second))


@settings(deadline=None)
@given(
    temperature=st.floats(allow_nan=False),
    top_k=st.integers(-(2**33), 2**33),
    top_p=st.floats(width=32, allow_nan=False),
    seed=st.integers(-(2**65), 2**65),
)
def test_sampling_parameters_arrive_bit_for_bit(temperature: float, top_k: int, top_p: float, seed: int) -> None:
    """ABI-3: f32 by rounding the double, i64 modulo 2^64; C's own conversions are the second opinion."""
    engine = WasmEngine(ECHO)
    assert engine.call("set_sampling_config", temperature, top_k, top_p, seed) == 2**32 - 1
    assert engine.read(200, 4) == bytes(ctypes.c_float(temperature))
    assert engine.read(204, 4) == bytes(ctypes.c_uint32(top_k))
    assert engine.read(208, 4) == struct.pack("<f", top_p)
    assert engine.read(216, 8) == bytes(ctypes.c_uint64(seed))


@pytest.mark.parametrize(
    ("given", "bits"),
    [
        (1 + 2**-24, "0000803f"),  # half way above 1: to even, that is down
        (1 + 3 * 2**-24, "0200803f"),  # half way between odd and even: up
        (2.0**128 - 2.0**103, "0000807f"),  # half way to 2^128 overflows
        (math.nextafter(2.0**128 - 2.0**103, 0), "ffff7f7f"),  # just below stays the largest float
        (1e-45, "01000000"),
        (7e-46, "00000000"),
        (-0.0, "00000080"),
        (10**400, "0000807f"),
        (-(10**400), "000080ff"),
        (2**24 + 1, "0000804b"),
    ],
)
def test_f32_by_hand(echo: WasmEngine, given: float, bits: str) -> None:
    """ABI-3: nearest-even, overflow to infinity, subnormals and the sign of zero are kept."""
    echo.call("set_sampling_config", given, 1, 1.0, 1)
    assert echo.read(200, 4).hex() == bits


def test_nan_arrives_as_nan(echo: WasmEngine) -> None:
    """ABI-3: NaN stays NaN; its bits are nobody's business."""
    echo.call("set_sampling_config", math.nan, 1, 1.0, 1)
    assert math.isnan(struct.unpack("<f", echo.read(200, 4))[0])


def test_i64_takes_integers_only(echo: WasmEngine) -> None:
    """ABI-3: a JavaScript host refuses a Number where an i64 is expected."""
    with pytest.raises(TypeError, match="i64"):
        echo.call("set_sampling_config", 0.0, 1, 1.0, 1.0)


@pytest.mark.parametrize("arguments", [(), (1,), (1, 2, 3)])
def test_wrong_number_of_arguments(echo: WasmEngine, arguments: Sequence[int]) -> None:
    """ABI-1: a wrong number of arguments is a mistake of the caller, told with the signature."""
    with pytest.raises(TypeError, match="dealloc"):
        echo.call("dealloc", *arguments)


def test_results_are_unsigned_and_void_is_none() -> None:
    """ABI-2: all integer results have their unsigned meaning; `dealloc` has none."""
    bodies = {name: "(i32.const -2)" for name, signature in SIGNATURES.items() if "result" in signature}
    engine = WasmEngine(build(**bodies))
    for name, signature in SIGNATURES.items():
        zeros = [0] * signature.partition("(result")[0].count("32") + [0] * signature.count("i64")
        expected = 2**32 - 2 if "result" in signature else None
        assert engine.call(name, *zeros) == expected


# Memory --------------------------------------------------------------------------------------------------------------


def test_bytes_come_back(echo: WasmEngine) -> None:
    """MEM-1: what is written is read, at both ends of memory, and nothing beside it changes."""
    assert echo.memory_size == 2 * 65536
    echo.write(65536, bytes(range(256)))
    assert echo.read(65536, 256) == bytes(range(256))
    assert echo.read(65535, 1) == echo.read(65536 + 256, 1) == b"\0"
    echo.write(2 * 65536 - 3, b"end")
    assert echo.read(2 * 65536 - 3, 3) == b"end"
    assert echo.read(2 * 65536, 0) == b""
    echo.write(2 * 65536, b"")


@pytest.mark.parametrize(
    ("pointer", "length"),
    [
        (2 * 65536, 1),
        (2 * 65536 - 1, 2),
        (2 * 65536 + 1, 0),
        (-1, 1),
        (-4, 4),
        (0, -1),
        (8, -4),
        (0, 2**32 - 1),
        (2**32 - 1, 2**32 - 1),
        (2**64, 1),
    ],
)
def test_ranges_outside_memory_are_faults(echo: WasmEngine, pointer: int, length: int) -> None:
    """MEM-6: a read beside memory is told, neither shortened nor taken from the other end."""
    with pytest.raises(MemoryFault, match="outside memory of 131072 bytes"):
        echo.read(pointer, length)


@pytest.mark.parametrize("pointer", [2 * 65536, 2 * 65536 - 3, -4, -1, 2**32 - 2, 2**64])
def test_writes_outside_memory_are_faults(echo: WasmEngine, pointer: int) -> None:
    """MEM-6: a write beside memory is told, and nothing is written."""
    before = echo.read(0, 2 * 65536)
    with pytest.raises(MemoryFault, match="outside memory"):
        echo.write(pointer, b"four")
    assert echo.read(0, 2 * 65536) == before


def test_memory_is_looked_up_again_after_growth() -> None:
    """MEM-5: after growth the new pages can be used, and the old bytes are where they were."""
    engine = WasmEngine(ECHO)
    engine.write(1000, b"kept")
    assert engine.call("load_model", 600, 0) == 602
    assert engine.memory_size == 602 * 65536
    assert engine.read(1000, 4) == b"kept"
    block = bytes(range(251)) * 80_000  # 20 MB, more than any first pages
    engine.write(602 * 65536 - len(block), block)
    assert engine.read(602 * 65536 - len(block), len(block)) == block


# Instances -----------------------------------------------------------------------------------------------------------


def test_instances_share_nothing() -> None:
    """ABI-4: each engine is a fresh instance of the same compiled module."""
    one, other = WasmEngine(ECHO), WasmEngine(ECHO)
    assert one.call("free_model") == 0
    one.write(100, b"mine")
    assert one.call("last_result_len") == 7
    assert other.call("last_result_len") == 0
    assert other.read(100, 4) == b"\0\0\0\0"
    assert WasmEngine(ECHO).call("last_result_len") == 0


def test_module_says_what_it_is() -> None:
    """ABI-5: a report names the module by hash and size, and the software that ran it."""
    data = build()
    info = WasmModule(data).info
    assert info["sha256"] == hashlib.sha256(data).hexdigest()
    assert info["size"] == len(data)
    assert str(info["wasmtime"])[0].isdigit()


def test_engine_takes_bytes_or_a_module() -> None:
    """ABI-1: a module is compiled once and used for many instances, or given as bytes."""
    assert WasmEngine(build()).name == WasmEngine(ECHO).name == "wasm"
    assert WasmEngine(ECHO).module is ECHO


def test_one_call_at_a_time() -> None:
    """ABI-4: calls from several threads wait for each other; none sees a counter that another one is changing."""
    count = """(local $seen i32) (local $n i32)
        (local.set $seen (i32.load (i32.const 0)))
        (loop $again
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 1000000))))
        (i32.store (i32.const 0) (i32.add (local.get $seen) (i32.const 1)))
        (i32.load (i32.const 0))"""
    engine = WasmEngine(build(init_runtime=count))
    threads = [threading.Thread(target=lambda: [engine.call("init_runtime") for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.call("init_runtime") == 4 * 25 + 1


# Traps ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("(unreachable)", "unreachable"),
        ("(i32.load (i32.const -4))", "out of bounds memory access"),
        ("(i32.div_u (i32.const 1) (i32.const 0))", "integer divide by zero"),
        ("(i32.trunc_f32_s (f32.const nan))", "invalid conversion to integer"),
        ("(call_indirect (result i32) (i32.const 9))", "undefined element"),
        (RECURSE, "call stack exhausted"),
    ],
)
def test_traps_say_why_and_where(body: str, message: str) -> None:
    """MEM-6: a trap is no status; it names the export, the reason and the functions on the way."""
    table = "(table 1 funcref)"
    inner = f"{RECURSION} {table} (func $inner (result i32) {body})"
    engine = WasmEngine(build(more=inner, generate_next_token="(call $inner)", init_runtime="(i32.const 5)"))
    with pytest.raises(EngineTrap) as caught:
        engine.call("generate_next_token")
    assert str(caught.value).startswith("generate_next_token trapped: ")
    assert message in str(caught.value)
    assert "(function " in caught.value.backtrace
    assert ", offset 0x" in caught.value.backtrace
    assert engine.call("init_runtime") == 5


def test_backtrace_names_functions_from_the_inside_out() -> None:
    """MEM-6: the innermost function comes first, with the name that the module gives it."""
    inner = "(func $deep_inside (result i32) (unreachable)) (func $between (result i32) (call $deep_inside))"
    engine = WasmEngine(build(more=inner, free_model="(call $between)"))
    with pytest.raises(EngineTrap) as caught:
        engine.call("free_model")
    trace = caught.value.backtrace
    assert trace.index("deep_inside (function 0") < trace.index("called by between (function 1")
    assert trace.count("called by") == 2


# Without wasmtime ----------------------------------------------------------------------------------------------------


def import_again(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in [name for name in sys.modules if name.startswith("refruntime.engines.wasm")]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("refruntime.engines.wasm")


def test_missing_wasmtime_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """ABI-1: without wasmtime the import says what to install, as its own kind of error."""
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    with pytest.raises(EngineMissing, match=r"pip install 'refruntime\[wasm\]'") as caught:
        import_again(monkeypatch)
    assert isinstance(caught.value, ModuleNotFoundError)
    assert caught.value.name == "wasmtime"


def test_unloadable_wasmtime_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ABI-1: wasmtime that is installed but has no library for this machine is another message."""
    (tmp_path / "wasmtime.py").write_text("raise OSError('libwasmtime: wrong machine')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wasmtime")
    with pytest.raises(EngineMissing, match="cannot be loaded: libwasmtime: wrong machine"):
        import_again(monkeypatch)


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_limits_of_time_are_finite(seconds: float) -> None:
    """ABI-4: no export can be cancelled, so every call has a finite deadline."""
    with pytest.raises(ValueError, match="seconds"):
        Limits(seconds=seconds)


@pytest.mark.parametrize("size", [0, -1, 2**32 + 1])
def test_limits_of_memory_are_those_of_wasm32(size: int) -> None:
    """MEM-5: memory has at most 65536 pages of 64 KiB."""
    with pytest.raises(ValueError, match="memory_bytes"):
        Limits(memory_bytes=size)
