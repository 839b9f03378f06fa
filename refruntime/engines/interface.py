"""Compare the imports and exports of a module with the surface of the contract (ABI-1, ABI-2).

They are read from the module's bytes: the reflection of wasmtime's C interface ends the process at a type that it does
not know, such as a vector in an exported signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from refruntime.contract.exports import EXPORTS
from refruntime.contract.limits import PAGE_BYTES
from refruntime.engines.base import InterfaceProblem, InvalidModule, refusing_malformed
from refruntime.instrument.reader import (
    EXPORT_SECTION,
    FUNCTION_SECTION,
    IMPORT_SECTION,
    MEMORY_SECTION,
    TYPE_SECTION,
    ModuleReader,
    sections,
)

SHOWN_CHARACTERS: Final = 120

MEMORY: Final = "memory"
"""Description of the memory that a wasm32 module exports: 32-bit, not shared, with pages of 64 KiB."""

GLOBAL: Final = "global"
"""Description of any global; exported globals are ignored (ABI-1)."""

EXPECTED: Final[dict[str, str]] = {
    "memory": MEMORY,
    **{export.name: f"function {export.wasm_signature}" for export in EXPORTS},
}

_FUNCTION_FORM = 0x60
_VALUE_TYPES = {
    **{0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64"},
    **{0x7B: "v128", 0x70: "funcref", 0x6F: "externref"},
}
_FUNCTION, _TABLE, _MEMORY, _GLOBAL, _TAG = range(5)
_KINDS = {_TABLE: "table", _GLOBAL: GLOBAL, _TAG: "tag"}


@dataclass
class Surface:
    """What a module imports, as (name, description) pairs, and exports, as descriptions by name."""

    imports: list[tuple[str, str]] = field(default_factory=list)
    exports: dict[str, str] = field(default_factory=dict)


def interface_problems(imports: Iterable[tuple[str, str]], exports: Mapping[str, str]) -> tuple[InterfaceProblem, ...]:
    """Return every import, and every export that is missing, mistyped or extra; each is a name with a description."""
    problems = [InterfaceProblem("import", visible(name), "no imports", found) for name, found in imports]
    for name, expected in EXPECTED.items():
        if name not in exports:
            problems.append(InterfaceProblem("missing", name, expected, "nothing"))
        elif exports[name] != expected:
            problems.append(InterfaceProblem("mistyped", name, expected, exports[name]))
    problems += [
        InterfaceProblem("extra", visible(name), "no other export", found)
        for name, found in exports.items()
        if name not in EXPECTED and found != GLOBAL
    ]
    return tuple(problems)


@refusing_malformed()
def read_surface(module: bytes) -> Surface:
    """Read imports and exports from the bytes of a module: InvalidModule."""
    surface = Surface()
    types: list[str] = []
    functions: list[str] = []
    memories: list[str] = []
    for identifier, reader in sections(module):
        if identifier == TYPE_SECTION:
            types = [_function_type(reader) for _ in range(reader.number())]
        elif identifier == IMPORT_SECTION:
            for _ in range(reader.number()):
                name = f"{reader.name()}.{reader.name()}"
                kind = reader.byte()
                description = _imported(kind, reader, types)
                surface.imports.append((name, description))
                if kind in (_FUNCTION, _MEMORY):
                    (functions if kind == _FUNCTION else memories).append(description)
        elif identifier == FUNCTION_SECTION:
            functions += [_item(types, reader.number()) for _ in range(reader.number())]
        elif identifier == MEMORY_SECTION:
            memories += [_memory_type(reader) for _ in range(reader.number())]
        elif identifier == EXPORT_SECTION:
            for _ in range(reader.number()):
                name, kind, index = reader.name(), reader.byte(), reader.number()
                spaces = {_FUNCTION: functions, _MEMORY: memories}
                surface.exports[name] = _item(spaces[kind], index) if kind in spaces else _kind(kind)
    return surface


def describe_function(parameters: Sequence[str], results: Sequence[str]) -> str:
    """Describe a function type in the words of `Export.wasm_signature`."""
    result = results[0] if len(results) == 1 else f"({', '.join(results)})"
    return visible(f"function ({', '.join(parameters)}) -> {result}")


def visible(text: str) -> str:
    """Return text that a module chose in a form that is safe to show: printable and not long."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return shown if len(shown) <= SHOWN_CHARACTERS else shown[: SHOWN_CHARACTERS - 3] + "..."


def _imported(kind: int, reader: ModuleReader, types: list[str]) -> str:
    """Read what is imported, past its whole type."""
    if kind == _FUNCTION:
        return _item(types, reader.number())
    if kind == _MEMORY:
        return _memory_type(reader)
    description = _kind(kind)
    if kind == _TAG:
        reader.take(1)
        reader.number()
    else:
        _value_type(reader)
        if kind == _TABLE:
            _memory_type(reader)  # the limits of a table are written like those of a memory
        else:
            reader.take(1)
    return description


def _function_type(reader: ModuleReader) -> str:
    form = reader.byte()
    if form != _FUNCTION_FORM:
        raise InvalidModule(f"type form {form:#x} before offset {reader.position}; expected a function type")
    parameters = [_value_type(reader) for _ in range(reader.number())]
    return describe_function(parameters, [_value_type(reader) for _ in range(reader.number())])


def _value_type(reader: ModuleReader) -> str:
    code = reader.byte()
    if code not in _VALUE_TYPES:
        raise InvalidModule(f"value type {code:#x} before offset {reader.position} is not one that a build may use")
    return _VALUE_TYPES[code]


def _memory_type(reader: ModuleReader) -> str:
    flags = reader.byte()
    for _ in range(1 + (flags & 1)):  # minimum, and maximum if there is one
        reader.number(64)
    page_bytes = 2 ** min(reader.number(), 63) if flags & 8 else PAGE_BYTES
    words = ["shared"] * (flags >> 1 & 1) + ["64-bit"] * (flags >> 2 & 1) + [MEMORY]
    return " ".join(words) + (f" with pages of {page_bytes} bytes" if page_bytes != PAGE_BYTES else "")


def _kind(kind: int) -> str:
    if kind not in _KINDS:
        raise InvalidModule(f"an import or export of the unknown kind {kind}")
    return _KINDS[kind]


def _item(space: list[str], index: int) -> str:
    if index >= len(space):
        raise InvalidModule(f"index {index} of a type, function or memory is beyond the {len(space)} that exist")
    return space[index]
