"""Note every comparison of a build that meets a planted number: the other operand is what the build compared it with.

`watch_comparisons` replaces i64.eq, i64.ne, i64.xor and i64.sub, and the same four of i32, by calls of functions that
compute the same and, when an operand is the planted number or a half of it, store both operands in globals that are
exported under names of this module. A host plants a number, lets the build work, and reads the meetings:

    watched = watch_comparisons(module)
    engine = WasmEngine(watched.module)
    watched.plant(engine, 0x0123456789ABCDEF)      # the number that stands in the checksum field of the file
    Client(engine).load_model(file)
    watched.meetings(engine)                       # Meeting(site=Site(function=71, ..), met=0x01.., other=0x5E..)

A planted number must be random: then 2^-64 (2^-32 for a half) is the chance that something else equals it by accident.
A meeting with a half is how a compiler splits a 64-bit comparison, or how a build compares a truncated number.

For a build that compares byte by byte `single_bytes` lets the i32 instructions meet the bytes of the planted number
instead of its halves. These bytes must be 0x80 or more: text and small numbers, which a build compares all the time,
are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

from refruntime.instrument.encoding import (
    END,
    body,
    call,
    global_get,
    global_set,
    i32_const,
    i64_const,
    if_then,
    local_get,
)
from refruntime.instrument.module import Module, Site

KEPT_MEETINGS: Final = 16
"""How many meetings are kept: the latest. `count` tells how many there were."""

KEPT_MEETINGS_OF_BYTES: Final = 96
"""The same where single bytes are met: other work of a build meets some too, after the comparison as before it."""

WATCHED_64: Final = {0x51: "i64.eq", 0x52: "i64.ne", 0x85: "i64.xor", 0x7D: "i64.sub"}
WATCHED_32: Final = {0x46: "i32.eq", 0x47: "i32.ne", 0x73: "i32.xor", 0x6B: "i32.sub"}
WATCHED: Final = WATCHED_64 | WATCHED_32

_PREFIX: Final = "refruntime.watch."
_COMPARISONS: Final = frozenset((0x51, 0x52))  # i64 operands, i32 result

_I32_ADD, _I32_OR, _I32_EQ, _I32_EQZ = b"\x6a", b"\x72", b"\x46", b"\x45"
_I32_SUB, _I32_AND, _I32_LT_U = b"\x6b", b"\x71", b"\x49"
_I64_EQ, _I64_XOR, _I64_SHR_U = b"\x51", b"\x85", b"\x88"
_WRAP, _EXTEND_U = b"\xa7", b"\xad"
_HIGH_HALF = i64_const(32) + _I64_SHR_U


class Globals(Protocol):
    """An engine whose exported globals can be read and written as unsigned numbers."""

    def read_global(self, name: str) -> int:
        """Return the value of an exported global."""

    def write_global(self, name: str, value: int) -> None:
        """Set an exported global."""


@dataclass(frozen=True)
class Meeting:
    """One watched operation that met the planted number: `met` is that operand, `other` the other one (64 bits)."""

    site: Site
    met: int
    other: int

    def __str__(self) -> str:
        where = f"{WATCHED[self.site.opcode]} at offset {self.site.offset:#x} (function {self.site.function})"
        return f"{where} met {self.met:#x} and {self.other:#x}"


@dataclass(frozen=True)
class Watched:
    """An instrumented module, and which instructions are watched."""

    module: bytes
    sites: tuple[Site, ...]
    prefix: str
    kept: int

    def plant(self, engine: Globals, number: int) -> None:
        """Set the 64-bit number to watch for, and forget all meetings."""
        engine.write_global(self.prefix + "planted", number)
        engine.write_global(self.prefix + "count", 0)

    def count(self, engine: Globals) -> int:
        """Return how many meetings there were since the number was planted."""
        return engine.read_global(self.prefix + "count")

    def meetings(self, engine: Globals) -> tuple[Meeting, ...]:
        """Return the latest meetings since the number was planted, in order."""
        kept = min(self.count(engine), self.kept)
        return tuple(self._meeting(engine, f"{self.prefix}{slot}.") for slot in reversed(range(kept)))

    def _meeting(self, engine: Globals, slot: str) -> Meeting:
        site = self.sites[engine.read_global(slot + "site")]
        return Meeting(site, engine.read_global(slot + "met"), engine.read_global(slot + "other"))


def watch_comparisons(data: bytes, *, single_bytes: bool = False) -> Watched:
    """Return a module that answers as before and notes meetings: MalformedModule for what cannot be read."""
    module = Module(data)
    prefix = _free_prefix(module)
    planted = module.add_global("i64", 0)
    module.export_global(prefix + "planted", planted)
    kept = KEPT_MEETINGS_OF_BYTES if single_bytes else KEPT_MEETINGS
    record = _add_record(module, prefix, kept)
    functions = {opcode: _add_watched_64(module, opcode, planted, record) for opcode in WATCHED_64}
    meets_32 = _meets_byte if single_bytes else _meets_half
    functions |= {opcode: _add_watched_32(module, opcode, record, meets_32(planted)) for opcode in WATCHED_32}
    sites: list[Site] = []

    def watched(site: Site) -> bytes:
        sites.append(site)
        return i32_const(len(sites) - 1) + call(functions[site.opcode])

    module.rewrite(functions, watched)
    return Watched(module.encode(), tuple(sites), prefix, kept)


def _free_prefix(module: Module) -> str:
    """Return a prefix that no exported name begins with; a build may have taken ours."""
    prefix, names = _PREFIX, module.exported_names()
    while any(name.startswith(prefix) for name in names):
        prefix += "_"
    return prefix


def _add_record(module: Module, prefix: str, kept: int) -> int:
    """Append the function (met i64, other i64, site i32) that stores a meeting: each older one moves on by a slot."""
    count = module.add_global("i32", 0)
    module.export_global(prefix + "count", count)
    slots = []
    for slot in range(kept):
        slots.append([module.add_global(kind, 0) for kind in ("i64", "i64", "i32")])
        for what, index in zip(("met", "other", "site"), slots[-1], strict=True):
            module.export_global(f"{prefix}{slot}.{what}", index)
    code = global_get(count) + i32_const(1) + _I32_ADD + global_set(count)
    for newer, older in reversed(list(pairwise(slots))):
        code += b"".join(global_get(source) + global_set(target) for source, target in zip(newer, older, strict=True))
    code += b"".join(local_get(parameter) + global_set(target) for parameter, target in enumerate(slots[0]))
    return module.add_function(("i64", "i64", "i32"), (), body(code))


def _add_watched_64(module: Module, opcode: int, planted: int, record: int) -> int:
    """Append the function (a i64, b i64, site i32) that computes a 64-bit operation and records a meeting.

    An operand meets when it is the planted number, has its low or its high half in place, or is the high half alone.
    """

    def meets(operand: int) -> bytes:
        difference = local_get(operand) + global_get(planted) + _I64_XOR
        low = difference + _WRAP + _I32_EQZ
        high = difference + _HIGH_HALF + _WRAP + _I32_EQZ
        high_alone = local_get(operand) + global_get(planted) + _HIGH_HALF + _I64_EQ
        return low + high + _I32_OR + high_alone + _I32_OR

    code = b"".join(
        meets(met) + if_then(local_get(met) + local_get(other) + local_get(2) + call(record))
        for met, other in ((0, 1), (1, 0))
    )
    code += local_get(0) + local_get(1) + bytes([opcode])
    return module.add_function(("i64", "i64", "i32"), ("i32" if opcode in _COMPARISONS else "i64",), body(code))


def _add_watched_32(module: Module, opcode: int, record: int, meets: Callable[[int], bytes]) -> int:
    """Append the function (a i32, b i32, site i32) that computes a 32-bit operation and records what is met."""
    code = b"".join(
        meets(met) + if_then(local_get(met) + _EXTEND_U + local_get(other) + _EXTEND_U + local_get(2) + call(record))
        for met, other in ((0, 1), (1, 0))
    )
    code += local_get(0) + local_get(1) + bytes([opcode])
    return module.add_function(("i32", "i32", "i32"), ("i32",), body(code))


def _meets_half(planted: int) -> Callable[[int], bytes]:
    """Return what tells whether an operand is a half of the planted number."""

    def meets(operand: int) -> bytes:
        low = local_get(operand) + global_get(planted) + _WRAP + _I32_EQ
        high = local_get(operand) + global_get(planted) + _HIGH_HALF + _WRAP + _I32_EQ
        return low + high + _I32_OR

    return meets


def _meets_byte(planted: int) -> Callable[[int], bytes]:
    """Return what tells whether an operand is 0x80 to 0xFF and a byte of the planted number."""

    def meets(operand: int) -> bytes:
        possible = local_get(operand) + i32_const(0x80) + _I32_SUB + i32_const(0x80) + _I32_LT_U
        code = i32_const(0)
        for shift in range(0, 64, 8):
            byte = global_get(planted) + i64_const(shift) + _I64_SHR_U + _WRAP + i32_const(0xFF) + _I32_AND
            code += local_get(operand) + byte + _I32_EQ + _I32_OR
        return possible + b"\x04\x7f" + code + b"\x05" + i32_const(0) + END

    return meets
