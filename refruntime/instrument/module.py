"""A WebAssembly module that can be appended to and whose chosen instructions can be replaced.

What is appended gets the next free index of its space, so no index that the module uses changes its meaning. Everything
else is kept byte for byte, also sections that nobody knows and numbers written wider than they need to be:

    module = Module(data)
    counter = module.add_global("i64", 0)
    count = module.add_function((), (), body(global_get(counter) + i64_const(1) + b"\\x7c" + global_set(counter)))
    module.export_global("loops", counter)
    module.rewrite({0x03}, lambda site: site.bytes + call(count))      # after each `loop`: count one more
    instrumented = module.encode()

Offsets into code that custom sections hold (line numbers, branch hints) are not moved; no engine needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from refruntime.instrument import encoding
from refruntime.instrument.encoding import VALUE_TYPES, ValueType, unsigned, vector
from refruntime.instrument.opcodes import chosen_instructions
from refruntime.instrument.reader import (
    CODE_SECTION,
    CUSTOM_SECTION,
    DATA_COUNT_SECTION,
    DATA_SECTION,
    ELEMENT_SECTION,
    EXPORT_SECTION,
    FUNCTION_SECTION,
    GLOBAL_SECTION,
    HEADER,
    IMPORT_SECTION,
    MEMORY_SECTION,
    START_SECTION,
    TABLE_SECTION,
    TAG_SECTION,
    TYPE_SECTION,
    MalformedModule,
    ModuleReader,
    sections,
)
from refruntime.instrument.spaces import check_types, count_imports, past_locals

_ORDER: Final = (
    *(TYPE_SECTION, IMPORT_SECTION, FUNCTION_SECTION, TABLE_SECTION, MEMORY_SECTION, TAG_SECTION, GLOBAL_SECTION),
    *(EXPORT_SECTION, START_SECTION, ELEMENT_SECTION, DATA_COUNT_SECTION, CODE_SECTION, DATA_SECTION),
)
_COUNTED: Final = frozenset(_ORDER) - {START_SECTION, DATA_COUNT_SECTION}
"""Sections that are a count and items."""

_GLOBAL_EXPORT: Final = b"\x03"


@dataclass(frozen=True)
class Site:
    """One chosen instruction: index of its function, offset in the module that was read, opcode, all its bytes."""

    function: int
    offset: int
    opcode: int
    bytes: bytes


Replacement = Callable[[Site], bytes]
"""Return the instructions that stand in the place of one; they must take and leave the same values."""


@dataclass(frozen=True)
class _Section:
    """One section: where its content and its items lie, how many items, and how wide size and count are written."""

    identifier: int
    start: int
    end: int
    size_width: int
    items: int = 0
    count: int = 0

    @property
    def count_width(self) -> int:
        return self.items - self.start


class Module:
    """A module that was read, and what is appended to it. MalformedModule for what cannot be read."""

    def __init__(self, data: bytes) -> None:
        self._data = bytes(data)
        self._sections = list(_read_sections(self._data))
        self._known = {section.identifier: section for section in self._sections if section.identifier}
        self._appended: dict[int, list[bytes]] = {}
        self._bodies: list[bytes] | None = None
        check_types(*self._items(TYPE_SECTION))
        imported = count_imports(*self._items(IMPORT_SECTION))
        self._first_function = imported.functions
        self._counts = {
            TYPE_SECTION: self._count(TYPE_SECTION),
            FUNCTION_SECTION: imported.functions + self._count(FUNCTION_SECTION),
            GLOBAL_SECTION: imported.globals + self._count(GLOBAL_SECTION),
        }
        if self._count(FUNCTION_SECTION) != self._count(CODE_SECTION):
            raise MalformedModule(
                f"{self._count(FUNCTION_SECTION)} functions are declared, {self._count(CODE_SECTION)} have code"
            )

    def _count(self, identifier: int) -> int:
        return self._known[identifier].count if identifier in self._known else 0

    def _items(self, identifier: int) -> tuple[ModuleReader, int]:
        """Return a reader of the items of a section, and how many there are."""
        if identifier not in self._known:
            return ModuleReader(self._data, 0, 0), 0
        section = self._known[identifier]
        return ModuleReader(self._data, section.items, section.end), section.count

    # Appending -------------------------------------------------------------------------------------------------------

    def add_type(self, parameters: Sequence[ValueType], results: Sequence[ValueType]) -> int:
        """Append a function type and return its index."""
        return self._append(TYPE_SECTION, encoding.function_type(parameters, results))

    def add_function(self, parameters: Sequence[ValueType], results: Sequence[ValueType], body: bytes) -> int:
        """Append a function with a body from `encoding.body` and return its index."""
        index = self._append(FUNCTION_SECTION, unsigned(self.add_type(parameters, results)))
        self._append(CODE_SECTION, unsigned(len(body)) + body)
        return index

    def add_global(self, kind: ValueType, value: int) -> int:
        """Append a mutable integer global that begins with a value, and return its index."""
        constant = encoding.i32_const(value) if kind == "i32" else encoding.i64_const(value)
        return self._append(GLOBAL_SECTION, VALUE_TYPES[kind] + b"\x01" + constant + encoding.END)

    def export_global(self, name: str, index: int) -> None:
        """Export a global; a surface check ignores exported globals (ABI-1). The name must be free."""
        self._export(name, _GLOBAL_EXPORT, index)

    def exported_names(self) -> frozenset[str]:
        """Return the names that the module exported when it was read: MalformedModule."""
        reader, count = self._items(EXPORT_SECTION)
        names = set()
        for _ in range(count):
            names.add(reader.name())
            reader.byte()
            reader.number()
        return frozenset(names)

    def _export(self, name: str, kind: bytes, index: int) -> None:
        self._append(EXPORT_SECTION, encoding.name(name) + kind + unsigned(index))

    def _append(self, identifier: int, item: bytes) -> int:
        self._appended.setdefault(identifier, []).append(item)
        index = self._counts.get(identifier, 0)
        self._counts[identifier] = index + 1
        return index

    # Replacing -------------------------------------------------------------------------------------------------------

    def rewrite(self, opcodes: Collection[int], replacement: Replacement) -> int:
        """Replace each instruction with a chosen opcode and return how many there were: MalformedModule.

        It works on the code that was read, not on appended functions, and it may be used once.
        """
        if self._bodies is not None:
            raise ValueError("the code was rewritten before; choose all opcodes at once")
        chosen = frozenset(opcodes)
        reader, count = self._items(CODE_SECTION)
        self._bodies, sites = [], 0
        for function in range(self._first_function, self._first_function + count):
            entry = reader.position
            size = reader.number()
            width, start = reader.position - entry, reader.position
            reader.position += size
            if reader.position > reader.end:
                raise MalformedModule(f"the function at offset {entry} has {size} bytes, past the end of the code")
            body, found = self._rewritten_body(function, start, reader.position, chosen, replacement)
            self._bodies.append(unsigned(len(body), width) + body)
            sites += found
        if reader.position != reader.end:
            raise MalformedModule(f"{reader.end - reader.position} bytes follow the last function")
        return sites

    def _rewritten_body(
        self, function: int, start: int, end: int, chosen: frozenset[int], replacement: Replacement
    ) -> tuple[bytes, int]:
        """Return a body without its size, and how many instructions of it were replaced."""
        data = self._data
        pieces: list[bytes] = []
        kept, sites = start, 0
        for opcode, site, after in chosen_instructions(data, past_locals(data, start, end), end, chosen):
            pieces += (data[kept:site], replacement(Site(function, site, opcode, data[site:after])))
            kept = after
            sites += 1
        return b"".join((*pieces, data[kept:end])), sites

    # Writing ---------------------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """Return the whole module with everything that was appended and replaced."""
        written = [(section.identifier, self._content(section), section.size_width) for section in self._sections]
        for identifier in sorted(self._appended.keys() - self._known.keys(), key=_ORDER.index):
            before = _ORDER[: _ORDER.index(identifier)]
            place = max((index + 1 for index, (other, _, _) in enumerate(written) if other in before), default=0)
            written.insert(place, (identifier, vector(self._appended[identifier]), 1))
        return HEADER + b"".join(
            bytes([identifier]) + unsigned(len(content), width) + content for identifier, content, width in written
        )

    def _content(self, section: _Section) -> bytes:
        appended = self._appended.get(section.identifier, [])
        items = self._data[section.items : section.end]
        if section.identifier == CODE_SECTION and self._bodies is not None:
            items = b"".join(self._bodies)
        if section.identifier not in _COUNTED:
            return self._data[section.start : section.end]
        return unsigned(section.count + len(appended), section.count_width) + items + b"".join(appended)


def _read_sections(data: bytes) -> Iterator[_Section]:
    """Yield the sections; each known one may come once, in its order: MalformedModule."""
    last = -1
    before = len(HEADER)
    for identifier, reader in sections(data):
        start, end = reader.position, reader.end
        width = start - before - 1
        before = end
        if identifier == CUSTOM_SECTION:
            yield _Section(identifier, start, end, width)
            continue
        if identifier not in _ORDER:
            raise MalformedModule(f"the section at offset {start} has the unknown number {identifier}")
        place = _ORDER.index(identifier)
        if place <= last:
            raise MalformedModule(f"section {identifier} at offset {start} comes twice or out of order")
        last = place
        if identifier in _COUNTED:
            count = reader.number()
            yield _Section(identifier, start, end, width, reader.position, count)
        else:
            yield _Section(identifier, start, end, width)
