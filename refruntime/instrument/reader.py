"""Read numbers, names and sections of a WebAssembly module (core specification, binary format); nothing of it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

CUSTOM_SECTION: Final = 0
TYPE_SECTION: Final = 1
IMPORT_SECTION: Final = 2
FUNCTION_SECTION: Final = 3
TABLE_SECTION: Final = 4
MEMORY_SECTION: Final = 5
GLOBAL_SECTION: Final = 6
EXPORT_SECTION: Final = 7
START_SECTION: Final = 8
ELEMENT_SECTION: Final = 9
CODE_SECTION: Final = 10
DATA_SECTION: Final = 11
DATA_COUNT_SECTION: Final = 12
TAG_SECTION: Final = 13

HEADER: Final = b"\0asm\x01\0\0\0"
"""Magic and version of a core module; a component has another version."""


class MalformedModule(ValueError):
    """The bytes are not a module that can be read; the message says where, what was expected and what was found."""


class ModuleReader:
    """Read numbers and names from `start` to `end` of a module; MalformedModule when they do not fit."""

    def __init__(self, module: bytes, start: int, end: int) -> None:
        self.module, self.position, self.end = module, start, end

    def take(self, length: int) -> bytes:
        """Return the next bytes."""
        start, self.position = self.position, self.position + length
        if self.position > self.end:
            raise MalformedModule(f"{length} bytes at offset {start} reach past {self.end}, the end of what holds them")
        return self.module[start : self.position]

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def number(self, bits: int = 32) -> int:
        """Return an unsigned LEB128 number."""
        start, value = self.position, 0
        for shift in range(0, bits, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            value = 2**bits
        if value >= 2**bits:
            raise MalformedModule(f"the number at offset {start} has more than {bits} bits")
        return value

    def name(self) -> str:
        """Return a name: its length in bytes, then UTF-8."""
        start = self.position
        try:
            return self.take(self.number()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedModule(f"the name at offset {start} is not UTF-8") from error


def sections(module: bytes) -> Iterator[tuple[int, ModuleReader]]:
    """Yield the id of each section with a reader of its content."""
    check_header(module)
    whole = ModuleReader(module, len(HEADER), len(module))
    while whole.position < whole.end:
        identifier, size = whole.byte(), whole.number()
        start = whole.position
        whole.position += size
        if whole.position > whole.end:
            raise MalformedModule(f"the section at offset {start} has {size} bytes, but the module ends at {whole.end}")
        yield identifier, ModuleReader(module, start, whole.position)


def check_header(module: bytes) -> None:
    """Refuse what does not begin as a core module."""
    if module[: len(HEADER)] != HEADER:
        raise MalformedModule(f"not a WebAssembly module: it begins with {module[:8]!r}, expected {HEADER!r}")
