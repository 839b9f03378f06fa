"""Watched modules answer as before and note what meets a planted number; nothing else of their surface changes."""

from __future__ import annotations

import itertools

import pytest

from refruntime.engines.interface import interface_problems, read_surface
from refruntime.engines.wasm import WasmEngine
from refruntime.instrument.watch import KEPT_MEETINGS, WATCHED_32, WATCHED_64, watch_comparisons
from tests.support.wat_modules import build

PLANTED = 0x0123456789ABCDEF
LOW, HIGH = PLANTED & 0xFFFFFFFF, PLANTED >> 32
OTHER = 0xFEDCBA9876543210
EDGES = (0, 1, 2**63, 2**64 - 1, PLANTED, OTHER, LOW, HIGH, HIGH << 32)


def comparing(instruction: str) -> bytes:
    """A build whose `set_sampling_config` applies an operation to two numbers in memory and stores the result."""
    wide = instruction.startswith("i64")
    kind = "i64" if wide else "i32"
    operands = f"({kind}.load (i32.const 8)) ({kind}.load (i32.const 16))"
    result = f"({instruction} {operands})"
    if instruction in ("i64.eq", "i64.ne") or not wide:
        result = f"(i64.extend_i32_u {result})"
    return build(set_sampling_config=f"(i64.store (i32.const 24) {result}) (i32.const 0)")


def run(engine: WasmEngine, a: int, b: int) -> int:
    engine.write(8, a.to_bytes(8, "little"))
    engine.write(16, b.to_bytes(8, "little"))
    assert engine.call("set_sampling_config", 1.0, 1, 1.0, 1) == 0
    return int.from_bytes(engine.read(24, 8), "little")


def expected(instruction: str, a: int, b: int) -> int:
    """The result by arithmetic on Python's integers."""
    bits = 64 if instruction.startswith("i64") else 32
    a, b = a % 2**bits, b % 2**bits
    operation = instruction[4:]
    return {"eq": int(a == b), "ne": int(a != b), "xor": a ^ b, "sub": (a - b) % 2**bits}[operation]


@pytest.mark.parametrize("instruction", [*WATCHED_64.values(), *WATCHED_32.values()])
def test_results_stay_and_meetings_are_noted(instruction: str) -> None:
    """ID-2: the watched operation computes the same; operands that equal the planted number or a half are noted."""
    watched = watch_comparisons(comparing(instruction))
    assert len(watched.sites) == 1
    engine = WasmEngine(watched.module)
    bits = 64 if instruction.startswith("i64") else 32
    for a, b in itertools.product(EDGES, EDGES):
        watched.plant(engine, PLANTED)
        assert run(engine, a, b) == expected(instruction, a, b)
        met = [(meeting.met, meeting.other) for meeting in watched.meetings(engine)]
        a, b = a % 2**bits, b % 2**bits
        meets = {PLANTED, LOW, HIGH, HIGH << 32} if bits == 64 else {LOW, HIGH}
        assert met == [pair for pair in ((a, b), (b, a)) if pair[0] in meets]


def test_nothing_is_noted_before_a_number_is_planted_or_after_another_one_is() -> None:
    """ID-2: planting forgets; a number that was planted before is met no more."""
    watched = watch_comparisons(comparing("i64.eq"))
    engine = WasmEngine(watched.module)
    watched.plant(engine, PLANTED)
    run(engine, PLANTED, 5)
    assert watched.count(engine) == 1
    watched.plant(engine, OTHER)
    assert watched.meetings(engine) == ()
    run(engine, PLANTED, 5)
    assert watched.meetings(engine) == ()
    run(engine, 5, OTHER)
    assert [(meeting.met, meeting.other) for meeting in watched.meetings(engine)] == [(OTHER, 5)]


def test_the_latest_meetings_are_kept_in_order() -> None:
    """ID-2: of many meetings the latest are kept, the count tells all."""
    watched = watch_comparisons(comparing("i64.xor"))
    engine = WasmEngine(watched.module)
    watched.plant(engine, PLANTED)
    for number in range(40):
        run(engine, PLANTED, number)
    assert watched.count(engine) == 40
    assert [meeting.other for meeting in watched.meetings(engine)] == list(range(40 - KEPT_MEETINGS, 40))


def test_a_meeting_names_its_instruction() -> None:
    """ID-2: evidence says which instruction of the module on disk compared."""
    module = comparing("i64.ne")
    watched = watch_comparisons(module)
    engine = WasmEngine(watched.module)
    watched.plant(engine, PLANTED)
    run(engine, 3, PLANTED)
    [meeting] = watched.meetings(engine)
    assert module[meeting.site.offset] == 0x52
    assert str(meeting).startswith(f"i64.ne at offset {meeting.site.offset:#x} (function ")


def test_what_is_added_is_invisible_to_the_surface_check() -> None:
    """ABI-1: exported globals are ignored, and no function, memory or import is added."""
    module = comparing("i64.eq")
    surface, watched = read_surface(module), read_surface(watch_comparisons(module).module)
    assert interface_problems(watched.imports, watched.exports) == ()
    added = {name: watched.exports[name] for name in watched.exports.keys() - surface.exports.keys()}
    assert added
    assert set(added.values()) == {"global"}


def test_names_that_a_build_took_are_left_to_it() -> None:
    """ABI-1: a build may export globals under any name, ours included."""
    more = '(global (export "refruntime.watch.planted") (mut i64) (i64.const 7))'
    module = build(more=more)
    watched = watch_comparisons(module)
    engine = WasmEngine(watched.module)
    watched.plant(engine, 1)
    assert engine.read_global("refruntime.watch.planted") == 7
    assert engine.read_global("refruntime.watch._planted") == 1


def test_globals_of_an_engine_are_unsigned() -> None:
    """ABI-2: bits in, bits out; what is no exported global is a KeyError."""
    more = '(global (export "a") (mut i64) (i64.const -1)) (global (export "b") (mut i32) (i32.const -2))'
    engine = WasmEngine(build(more=more))
    assert (engine.read_global("a"), engine.read_global("b")) == (2**64 - 1, 2**32 - 2)
    engine.write_global("a", 2**63)
    engine.write_global("b", 2**31)
    assert (engine.read_global("a"), engine.read_global("b")) == (2**63, 2**31)
    with pytest.raises(KeyError):
        engine.read_global("alloc")
