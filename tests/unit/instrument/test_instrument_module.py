"""Rewriting keeps what it does not change, in a thousand modules and the guest; hostile bytes are refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import wasmtime

from refruntime.engines.base import EngineError, Limits
from refruntime.engines.wasm import WasmEngine
from refruntime.instrument import opcodes
from refruntime.instrument.encoding import body, call, global_get, global_set, i64_const, unsigned
from refruntime.instrument.module import Module, Site
from refruntime.instrument.reader import MalformedModule
from refruntime.instrument.watch import WATCHED, watch_comparisons
from tests.support.generated_modules import generate
from tests.support.wat_modules import build, custom_section

GUEST = Path(__file__).resolve().parent.parent.parent / "guest" / "guest.wasm"
EVERY = frozenset(opcodes._IMMEDIATES) | {opcodes.BR_TABLE}
SOME = frozenset((0x51, 0x20, 0x0B, 0xFD000C, 0xFC000A, 0x0E))
MODULES = 1000
FEW_MODULES = 150


@pytest.fixture(scope="module")
def engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.wasm_tail_call = True
    return wasmtime.Engine(config)


def own_bytes(site: Site) -> bytes:
    return site.bytes


@pytest.mark.parametrize("modules", [FEW_MODULES, pytest.param(MODULES, marks=pytest.mark.slow)])
def test_identity_of_generated_modules(engine: wasmtime.Engine, modules: int) -> None:
    """ID-2: each instruction replaced by itself gives the same bytes, and each is found as often as it was written."""
    seen: set[int] = set()
    for seed in range(modules):
        generated = generate(seed)
        wasmtime.Module.validate(engine, generated.data)
        assert Module(generated.data).encode() == generated.data, seed
        for chosen in (EVERY, SOME, frozenset(WATCHED)):
            module = Module(generated.data)
            count = module.rewrite(chosen, own_bytes)
            assert module.encode() == generated.data, seed
            assert count == sum(number for code, number in generated.counts.items() if code in chosen), seed
        seen.update(generated.counts)
    assert len(seen) > 300  # the generator reaches every family


def test_identity_of_the_guest() -> None:
    """ID-2: the same for a module of a real compiler."""
    data = GUEST.read_bytes()
    for chosen in (EVERY, SOME):
        module = Module(data)
        assert module.rewrite(chosen, own_bytes) > 100
        assert module.encode() == data


def test_watched_modules_stay_valid(engine: wasmtime.Engine) -> None:
    """ID-2: what is appended gets the next indices, also behind imports and where a module has no such section."""
    for seed in range(0, MODULES, 10):
        data = generate(seed).data
        watched = watch_comparisons(data)
        wasmtime.Module.validate(engine, watched.module)
        assert all(data[site.offset] == site.opcode for site in watched.sites)
    for text in ("(module)", "(module (func))", '(module (import "m" "f" (func)))', '(module (@custom "a" "b"))'):
        wasmtime.Module.validate(engine, watch_comparisons(bytes(wasmtime.wat2wasm(text))).module)


def test_the_worked_example_counts_loops() -> None:
    """ID-2: the example of the documentation: a counter behind each `loop`, read through an exported global."""
    loop = "(local $i i32) (loop $again (local.set $i (i32.add (local.get $i) (i32.const 1)))"
    data = build(init_runtime=f"{loop} (br_if $again (i32.lt_u (local.get $i) (i32.const 7)))) (i32.const 0)")
    module = Module(data)
    counter = module.add_global("i64", 0)
    more = global_get(counter) + i64_const(1) + b"\x7c" + global_set(counter)
    count = module.add_function((), (), body(more))
    module.export_global("loops", counter)
    assert module.rewrite({0x03}, lambda site: site.bytes + call(count)) == 1
    engine = WasmEngine(module.encode())
    assert engine.call("init_runtime") == 0
    assert engine.read_global("loops") == 7


def test_appended_code_is_not_rewritten() -> None:
    """ID-2: a helper that holds a chosen instruction does not call itself."""
    module = Module(build())
    module.add_function(("i64", "i64"), ("i32",), body(b"\x20\x00\x20\x01\x51"))
    assert module.rewrite({0x51}, lambda site: b"") == 0
    with pytest.raises(ValueError, match="choose all opcodes at once"):
        module.rewrite({0x51}, own_bytes)
    WasmEngine(module.encode())


# What is refused -----------------------------------------------------------------------------------------------------


def with_code(code: bytes) -> bytes:
    """A module with one function without parameters and results."""
    entry = unsigned(len(code) + 1) + b"\0" + code
    parts = ((1, b"\1\x60\0\0"), (3, b"\1\0"), (10, b"\1" + entry))
    return b"\0asm\1\0\0\0" + b"".join(bytes([number]) + unsigned(len(part)) + part for number, part in parts)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"\x06\x40\x0b\x0b", "unknown opcode 0x06"),
        (b"\x14\0\x0b", "unknown opcode 0x14"),
        (b"\xfb\0\x0b", "unknown opcode 0xfb"),
        (b"\xfc\x12\x0b", "unknown opcode 0xfc 18"),
        (b"\xfd\x9a\x01\x0b", "unknown opcode 0xfd 154"),
        (b"\xfd\xff\xff\xff\xff\x0f\x0b", "unknown opcode 0xfd 65535"),
        (b"\x28\x40\0\0\x0b", "immediates of opcode 0x28"),
        (b"\x41\x80\x80\x80\x80\x80\0\x0b", "immediates of opcode 0x41"),
        (b"\x44\0\0\x0b", "immediates of opcode 0x44"),
        (b"\x0e\xff\xff\xff\xff\x0f\0\x0b", "br_table at offset"),
        (b"\x01", "does not end with `end`"),
        (b"\x41", "immediates of opcode 0x41"),
        (b"\x02\x63\x70\x0b\x0b", "immediates of opcode 0x02"),
    ],
)
def test_unknown_instructions_are_refused_by_number(code: bytes, message: str) -> None:
    """ABI-4: an opcode or form that is not known is named with its offset, never skipped."""
    module = Module(with_code(code))
    with pytest.raises(MalformedModule, match=message):
        module.rewrite({0x51}, own_bytes)


def test_malformed_sections_are_refused() -> None:
    """ABI-4: sections twice, out of order, unknown or cut off; types of other proposals; code that does not add up."""
    good = with_code(b"\x0b")
    header, rest = good[:8], good[8:]
    for data, message in (
        (good + b"\x0a\1\0", "comes twice or out of order"),
        (header + b"\x0e\0" + rest, "unknown number 14"),
        (good[:-1], "the module ends at"),
        (header + b"\1\4\1\x5e\x7f\0" + rest[6:], "type form 0x5e"),
        (header + b"\1\5\1\x60\1\x63\0" + rest[6:], "value type 0x63"),
        (header + rest[:6] + b"\3\3\2\0\0" + rest[10:], "2 functions are declared, 1 have code"),
        (b"", "not a WebAssembly module"),
    ):
        with pytest.raises(MalformedModule, match=message):
            Module(data)
    longer = header + rest[:10] + b"\x0a\5\1\2\0\x0b\x0b"
    with pytest.raises(MalformedModule, match="1 bytes follow the last function"):
        Module(longer).rewrite({0x51}, own_bytes)
    cut = header + rest[:10] + b"\x0a\4\1\x09\0\x0b"
    with pytest.raises(MalformedModule, match="past the end of the code"):
        Module(cut).rewrite({0x51}, own_bytes)


def mutants(data: bytes, count: int, seed: int) -> list[bytes]:
    """Cut-off and changed copies."""
    chance = random.Random(seed)
    made = [data[: chance.randrange(len(data))] for _ in range(count // 4)]
    while len(made) < count:
        other = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 8))):
            place = chance.randrange(8, len(other))
            change = chance.randrange(3)
            if change == 0:
                other[place] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            elif change == 1:
                del other[place : place + chance.randrange(1, 9)]
            else:
                other[place:place] = chance.randbytes(chance.randrange(1, 5))
        made.append(bytes(other))
    return made


def test_hostile_bytes_are_refused_or_stay_valid(engine: wasmtime.Engine) -> None:
    """ABI-4: truncations and mutations end in MalformedModule or in a module that is as valid as what was read."""
    refused = valid = 0
    for seed in range(60):
        for data in mutants(generate(seed).data, 40, seed):
            try:
                watched = watch_comparisons(data)
            except MalformedModule:
                refused += 1
                continue
            try:
                wasmtime.Module.validate(engine, data)
            except wasmtime.WasmtimeError:
                continue
            wasmtime.Module.validate(engine, watched.module)
            valid += 1
    assert refused > 400
    assert valid > 50


def test_hostile_builds_are_refused_or_run() -> None:
    """ABI-4: a changed guest is refused, or its instrumented copy can be instantiated like itself."""
    data = build(more=f"(func (result i64) {'(i64.xor (i64.const 1) ' * 5}(i64.const 2){')' * 5})") + custom_section(
        "a", b"b"
    )
    ran = 0
    for other in mutants(data, 200, 3):
        try:
            WasmEngine(watch_comparisons(other).module, Limits(seconds=2)).call("init_runtime")
            ran += 1
        except (MalformedModule, EngineError):
            continue
    assert ran > 3
