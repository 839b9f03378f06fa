"""Count what a module imports and check its types, as far as indices depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from refruntime.instrument.reader import MalformedModule, ModuleReader

FUNCTION_FORM: Final = 0x60
VALUE_TYPES: Final = frozenset((0x6F, 0x70, 0x7B, 0x7C, 0x7D, 0x7E, 0x7F))
"""externref, funcref, v128, f64, f32, i64, i32; types of garbage collection take more than a byte."""

_FUNCTION, _TABLE, _MEMORY, _GLOBAL, _TAG = range(5)


@dataclass(frozen=True)
class Imported:
    """How many functions and globals come before those that a module defines."""

    functions: int = 0
    globals: int = 0


def count_imports(reader: ModuleReader, count: int) -> Imported:
    """Read `count` imports: MalformedModule."""
    functions = global_count = 0
    for _ in range(count):
        reader.name()
        reader.name()
        kind = reader.byte()
        if kind == _FUNCTION:
            reader.number()
            functions += 1
        elif kind == _TABLE:
            read_value_type(reader)
            _read_limits(reader)
        elif kind == _MEMORY:
            _read_limits(reader)
        elif kind == _GLOBAL:
            read_value_type(reader)
            reader.byte()
            global_count += 1
        elif kind == _TAG:
            reader.byte()
            reader.number()
        else:
            raise MalformedModule(f"the import before offset {reader.position} has the unknown kind {kind}")
    return Imported(functions, global_count)


def check_types(reader: ModuleReader, count: int) -> None:
    """Read `count` function types; a group of types would count as several: MalformedModule."""
    for _ in range(count):
        form = reader.byte()
        if form != FUNCTION_FORM:
            raise MalformedModule(
                f"type form {form:#x} before offset {reader.position}; expected a function type, {FUNCTION_FORM:#x}"
            )
        for _side in ("parameters", "results"):
            for _ in range(reader.number()):
                read_value_type(reader)


def read_value_type(reader: ModuleReader) -> int:
    """Read a value type of one byte: MalformedModule."""
    code = reader.byte()
    if code not in VALUE_TYPES:
        raise MalformedModule(f"value type {code:#x} before offset {reader.position} is not known")
    return code


def past_locals(data: bytes, start: int, end: int) -> int:
    """Return where the instructions of a function begin, after its groups of locals: MalformedModule."""
    reader = ModuleReader(data, start, end)
    for _ in range(reader.number()):
        reader.number()
        read_value_type(reader)
    return reader.position


def _read_limits(reader: ModuleReader) -> None:
    flags = reader.byte()
    if flags > 0x0F:
        raise MalformedModule(f"limits before offset {reader.position} have the unknown flags {flags:#x}")
    for _ in range(1 + (flags & 1)):  # minimum, and maximum if there is one
        reader.number(64)
    if flags & 8:
        reader.number()  # size of a page
