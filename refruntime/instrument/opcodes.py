r"""Find chosen instructions in the code of a function, at the speed of a regular expression.

An instruction is an opcode and its immediates, and almost every immediate is a regular language (LEB128 numbers,
single bytes, four, eight or sixteen of them). So the table below becomes one pattern that runs over every instruction
except the chosen ones, and Python is awake only where the pattern stops: at a chosen instruction, at `br_table`, whose
length it counts, and at what nobody knows. Example: with i64.eq (0x51) chosen, the pattern runs over the first two of

    20 00    local.get 0
    20 81 00 local.get 1     (a linker may write numbers wider than they need to be)
    51       i64.eq          <- here it stops

Opcodes are numbers; those behind a prefix byte are `prefix << 16 | number`, so memory.copy is 0xFC000A. Known are:
WebAssembly 2.0 (multi-value, sign extension, saturating conversions, bulk memory, reference types, SIMD), tail calls,
relaxed SIMD and threads. Any other opcode is refused by its number: garbage collection, exceptions, typed function
references and several memories are beyond wasm32 modules with one memory (ABI-1).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Final

from refruntime.instrument.reader import MalformedModule, ModuleReader

BR_TABLE: Final = 0x0E
PREFIXES: Final = frozenset((0xFC, 0xFD, 0xFE))

_U32 = rb"[\x80-\xff]{0,4}+[\x00-\x7f]"
_U64 = rb"[\x80-\xff]{0,9}+[\x00-\x7f]"
_ZERO = rb"\x80{0,4}+\x00"  # an index that can only be 0, as there is one memory
_ANY = rb"[\x00-\xff]"
_ALIGNMENT = rb"(?:[\x00-\x3f]|[\x80-\xbf]\x80{0,3}+\x00)"  # bit 6 would announce the index of a memory
_VALUE_TYPE = rb"[\x6f\x70\x7b-\x7f]"
_BLOCK_TYPE = rb"(?:[\x00-\x40\x6f\x70\x7b-\x7f]|[\x80-\xff]{1,4}+[\x00-\x3f])"
_MEMORY = _ALIGNMENT + _U64


def _codes(*ranges: int | tuple[int, int]) -> frozenset[int]:
    """Return numbers; a pair is a range that includes its end."""
    return frozenset(
        code for item in ranges for code in (range(item[0], item[1] + 1) if isinstance(item, tuple) else (item,))
    )


_PLAIN: Final[tuple[tuple[frozenset[int], bytes], ...]] = (
    (_codes(0x00, 0x01, 0x05, 0x0B, 0x0F, 0x1A, 0x1B, (0x45, 0xC4), 0xD1), b""),
    (_codes(0x0C, 0x0D, 0x10, 0x12, (0x20, 0x26), 0xD2), _U32),  # branches, calls, locals, globals, tables, ref.func
    (_codes((0x28, 0x3E)), _MEMORY),  # loads and stores
    (_codes(0x41), _U32),
    (_codes(0x42), _U64),
    (_codes((0x02, 0x04)), _BLOCK_TYPE),
    (_codes(0x11, 0x13), _U32 + _U32),  # call_indirect, return_call_indirect: type and table
    (_codes(0x43), _ANY + rb"{4}"),
    (_codes(0x44), _ANY + rb"{8}"),
    (_codes(0x3F, 0x40), _ZERO),  # memory.size, memory.grow
    (_codes(0x1C), rb"\x01" + _VALUE_TYPE),  # select with a type
    (_codes(0xD0), rb"[\x6f\x70]"),  # ref.null
)
"""Opcodes of one byte with the pattern of their immediates, the frequent ones first. br_table is handled apart."""

_PREFIXED: Final[dict[int, tuple[tuple[frozenset[int], bytes], ...]]] = {
    0xFC: (
        (_codes((0, 7)), b""),  # saturating conversions
        (_codes(8), _U32 + _ZERO),  # memory.init
        (_codes(10), _ZERO + _ZERO),  # memory.copy
        (_codes(11), _ZERO),  # memory.fill
        (_codes(9, 13, 15, 16, 17), _U32),  # data.drop, elem.drop, table.grow, table.size, table.fill
        (_codes(12, 14), _U32 + _U32),  # table.init, table.copy
    ),
    0xFD: (
        (_codes((0, 11), (92, 93)), _MEMORY),
        (_codes(12, 13), _ANY + rb"{16}"),  # v128.const, i8x16.shuffle
        (_codes((21, 34)), _ANY),  # extract and replace lanes
        (_codes((84, 91)), _MEMORY + _ANY),  # load and store one lane
        (
            _codes((14, 20), (35, 83), (94, 255), (0x100, 0x113))
            - _codes(0x9A, 0xA2, 0xA5, 0xA6, 0xAF, 0xB0, (0xB2, 0xB4), 0xBB, 0xC2, 0xC5, 0xC6, 0xCF, 0xD0)
            - _codes((0xD2, 0xD4), 0xE2, 0xEE),
            b"",
        ),
    ),
    0xFE: (
        (_codes((0, 2), (0x10, 0x4E)), _MEMORY),  # notify, wait, atomic loads, stores and read-modify-writes
        (_codes(3), rb"\x00"),  # atomic.fence
    ),
}
"""Numbers behind a prefix byte with the pattern of their immediates."""

_IMMEDIATES: Final[dict[int, re.Pattern[bytes]]] = {
    **{code: re.compile(pattern) for codes, pattern in _PLAIN for code in codes},
    **{
        prefix << 16 | code: re.compile(pattern)
        for prefix, rows in _PREFIXED.items()
        for codes, pattern in rows
        for code in codes
    },
}


def opcode_name(opcode: int) -> str:
    """Return an opcode as people write it: `0x51`, or `0xfc 10` behind a prefix."""
    return f"{opcode:#04x}" if opcode < 0x100 else f"{opcode >> 16:#04x} {opcode & 0xFFFF}"


def chosen_instructions(code: bytes, start: int, end: int, chosen: frozenset[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (opcode, start, end) of each chosen instruction between two offsets: MalformedModule.

    `end` is where the function ends; the instructions must fill the range and the last one must be `end`.
    """
    runner = _runner(chosen)
    position = start
    while True:
        position = runner.match(code, position, end).end()  # type: ignore[union-attr]  # it matches nothing at least
        if position == end:
            break
        opcode, after = instruction_at(code, position, end)
        if opcode in chosen:
            yield opcode, position, after
        position = after
    if end == start or code[end - 1] != 0x0B:
        raise MalformedModule(f"the function whose code starts at offset {start} does not end with `end` at {end - 1}")


def instruction_at(code: bytes, position: int, end: int) -> tuple[int, int]:
    """Return the opcode at an offset and where the next instruction begins: MalformedModule."""
    opcode, after = code[position], position + 1
    if opcode == BR_TABLE:
        return opcode, _past_br_table(code, position, end)
    if opcode in PREFIXES:
        reader = ModuleReader(code, after, end)
        number = reader.number()
        opcode, after = opcode << 16 | min(number, 0xFFFF), reader.position
    if opcode not in _IMMEDIATES:
        raise MalformedModule(f"the instruction at offset {position} has the unknown opcode {opcode_name(opcode)}")
    found = _IMMEDIATES[opcode].match(code, after, end)
    if found is None:
        raise MalformedModule(
            f"the immediates of opcode {opcode_name(opcode)} at offset {position} are not those of a module "
            f"with one memory, or reach past the function's end at {end}: {code[after : min(after + 8, end)].hex(' ')}"
        )
    return opcode, found.end()


def _past_br_table(code: bytes, position: int, end: int) -> int:
    """Return the offset after a `br_table`: a count of labels, the labels, the default label."""
    reader = ModuleReader(code, position + 1, end)
    labels = reader.number() + 1
    if labels > end - reader.position:
        raise MalformedModule(f"br_table at offset {position} has {labels} labels, more than its function has bytes")
    if code[reader.position : reader.position + labels].isascii():  # each label is one byte
        return reader.position + labels
    for _ in range(labels):
        reader.number()
    return reader.position


@lru_cache(maxsize=64)
def _runner(chosen: frozenset[int]) -> re.Pattern[bytes]:
    """Return the pattern that runs over instructions until one is chosen, `br_table`, unknown or cut off."""
    alternatives = []
    for codes, immediates in _PLAIN:
        if rest := codes - chosen:
            repeat = b"" if immediates else b"++"
            alternatives.append(_one_of(rest) + repeat + immediates)
    for prefix, rows in _PREFIXED.items():
        for codes, immediates in rows:
            if rest := frozenset(code for code in codes if prefix << 16 | code not in chosen):
                alternatives.append(_one_of({prefix}) + _numbers(rest) + immediates)
    return re.compile(b"(?:" + b"|".join(alternatives) + b")*+")


def _numbers(codes: Collection[int]) -> bytes:
    """Return a pattern of LEB128 numbers below 2^14, written as short as they can be."""
    by_high: dict[int, set[int]] = {}
    for code in codes:
        by_high.setdefault(code >> 7, set()).add(code & 0x7F)
    parts = [
        _one_of(low) if high == 0 else _one_of({code | 0x80 for code in low}) + _one_of({high})
        for high, low in sorted(by_high.items())
    ]
    return b"(?:" + b"|".join(parts) + b")"


def _one_of(codes: Collection[int]) -> bytes:
    return b"[" + b"".join(b"\\x%02x" % code for code in sorted(codes)) + b"]"
