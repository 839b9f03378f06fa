"""Read and check the tensor entries of a GGUF file (GG-3)."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Final

from refruntime.containers.gguf_metadata import printable, raw_of, text_of
from refruntime.containers.gguf_reader import U32, Reader
from refruntime.containers.gguf_tables import LazyTable, NameIndex
from refruntime.errors import InvalidTensorDirectory, UnsupportedDType
from refruntime.quants.ggml import FORK_TYPES, GGML_TYPES, GgmlType
from refruntime.string_table import LENGTH

MAX_DIMENSIONS: Final = 4
MAX_NAME_BYTES: Final = 63
MAX_ELEMENTS: Final = (1 << 63) - 1
ENTRIES: Final = {axes: struct.Struct(f"<{axes}QIQ") for axes in range(1, MAX_DIMENSIONS + 1)}
"""What follows the number of dimensions: each of them, the type, the offset."""
BLOCKS: Final = {number: (each.block_size, each.type_size) for number, each in GGML_TYPES.items() if each.decode}


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor entry.

    `dimensions` as stored, fastest varying first; `shape` is the same row-major; `offset` is absolute, in bytes;
    `entry_offset` is where the entry itself starts in the file.
    """

    name: str
    type: GgmlType
    dimensions: tuple[int, ...]
    offset: int
    byte_length: int
    entry_offset: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the row-major shape: [out, in] for a matrix."""
        return self.dimensions[::-1]

    @property
    def element_count(self) -> int:
        """Return the number of elements."""
        return prod(self.dimensions)


class DirectoryReader(Reader):
    """Reads the tensor entries, in file order."""

    failure = InvalidTensorDirectory

    def location(self, what: str) -> tuple[str, str | None]:
        """Return the error fields that name what is being read."""
        return what, self.context

    def read(self, count: int) -> list[GgufTensor]:
        """Read the entries, offsets still relative; UnsupportedDType for types, else InvalidTensorDirectory."""
        tensors: list[GgufTensor] = []
        names: set[str] = set()
        for index in range(count):
            self.context = f"number {index}"
            tensor = self._tensor(names)
            names.add(tensor.name)
            tensors.append(tensor)
        return tensors

    def read_compactly(self, count: int, alignment: int) -> tuple[Mapping[str, GgufTensor], int]:
        """Walk over very many entries and return them placed, with the offset of the data; failures as `read`, `place`.

        What is wrong is read again, carefully, to be told.
        """
        index = NameIndex(self.name_at)
        data, position, end = self.data, self.position, 0
        expected, in_place = 0, True
        length_at, number_at = LENGTH.unpack_from, U32.unpack_from
        try:
            for _ in range(count):
                length = length_at(data, position)[0]
                at = position + 8 + length
                axes = number_at(data, at)[0]
                if length > MAX_NAME_BYTES or axes not in ENTRIES:
                    break
                *dimensions, number, offset = ENTRIES[axes].unpack_from(data, at + 4)
                size = _stored_bytes(dimensions, number)
                if size is None:
                    break
                in_place &= offset == expected
                end = expected + size
                expected += -(-size // alignment) * alignment
                index.add(position, bytes(data[position + 8 : at]).partition(b"\0")[0])
                position = at + 4 + ENTRIES[axes].size
        except (struct.error, OverflowError):
            pass  # this entry ends behind the file
        self.position = position
        start = padded(position, alignment)
        found = LazyTable(index, raw_of, lambda place: text_of(self.name_at(place)), partial(self._placed, start))
        twice = index.close()
        if twice is not None:
            self.context, self.position = f"number {twice}", index.places[twice]
            self._tensor(found)
        if len(found) < count:
            self.context = f"number {len(found)}"
            self._tensor(found)
            self.fail("a tensor entry cannot be read", "entry")
        if not in_place or start + end > self.end:
            for _ in place((self._at(each) for each in index.places), start, alignment, self.end):
                pass  # it raises at the first that lies elsewhere
        return found, start

    def name_at(self, place: int) -> bytes:
        """Return the raw name of the entry at a place that was walked over, as a C string."""
        length = LENGTH.unpack_from(self.data, place)[0]
        return bytes(self.data[place + 8 : place + 8 + length]).partition(b"\0")[0]

    def claimed(self) -> tuple[str, GgmlType]:
        """Return name and type of the entry here, whatever else is wrong with it: failures as `read`."""
        name = text_of(self.string("name").partition(b"\0")[0])
        self._dimensions()
        return name, self._type()

    def _at(self, place: int) -> GgufTensor:
        return DirectoryReader(self.data, place)._tensor(())

    def _placed(self, start: int, place: int) -> GgufTensor:
        tensor = self._at(place)
        return replace(tensor, offset=start + tensor.offset)

    def _tensor(self, names: Container[str]) -> GgufTensor:
        start = self.position
        raw_name = self.string("name")
        if len(raw_name) > MAX_NAME_BYTES:
            self.fail("a tensor name is too long", "name", start, expected="below 64 bytes", found=len(raw_name))
        name = text_of(raw_name.partition(b"\0")[0])  # llama.cpp keeps names as C strings
        self.context = printable(name)
        if name in names:
            self.fail("a tensor name occurs twice", "name", start)
        dimensions = self._dimensions()
        ggml_type = self._type()
        if dimensions[0] % ggml_type.block_size:
            self.fail(
                "the first dimension is not a multiple of the block size",
                "dimension 0",
                self.position - 4 - 8 * len(dimensions),
                expected=f"a multiple of {ggml_type.block_size} ({ggml_type.name})",
                found=dimensions[0],
            )
        byte_length = prod(dimensions) // ggml_type.block_size * ggml_type.type_size
        offset = self.number(LENGTH, "offset")
        return GgufTensor(name, ggml_type, dimensions, offset, byte_length, start)

    def _dimensions(self) -> tuple[int, ...]:
        count = self.number(U32, "number of dimensions")
        if not 1 <= count <= MAX_DIMENSIONS:
            self.fail(
                "wrong number of dimensions", "number of dimensions", self.position - 4, expected="1 .. 4", found=count
            )
        dimensions = []
        elements = 1
        for axis in range(count):
            size = self.number(LENGTH, f"dimension {axis}")
            elements *= size
            if size == 0 or elements >= MAX_ELEMENTS:
                self.fail(
                    "a dimension is zero, negative or too large",
                    f"dimension {axis}",
                    self.position - 8,
                    expected=f"at least 1, and fewer than {MAX_ELEMENTS} elements",
                    found=size,
                )
            dimensions.append(size)
        return tuple(dimensions)

    def _type(self) -> GgmlType:
        number = self.number(U32, "type")
        ggml_type = GGML_TYPES.get(number)
        if ggml_type is None or ggml_type.decode is None:
            refusal = "unknown" if ggml_type is None else ggml_type.refusal
            fork = f"; it may be {FORK_TYPES[number]}, which llama.cpp does not read" if number in FORK_TYPES else ""
            raise UnsupportedDType(
                f"tensor type is {refusal}{fork}",
                rule="GG-3",
                tensor=self.context,
                field="type",
                offset=self.position - 4,
                expected="one of " + ", ".join(each.name for each in GGML_TYPES.values() if each.decode),
                found=number if ggml_type is None else f"{number} ({ggml_type.name})",
            )
        return ggml_type


def padded(size: int, alignment: int) -> int:
    """Round a size up to the alignment."""
    return -(-size // alignment) * alignment


def _stored_bytes(dimensions: Sequence[int], number: int) -> int | None:
    """Return the bytes of a tensor of a type by its number; None where dimensions or type are not those of one."""
    if number not in BLOCKS:
        return None
    elements = 1
    for size in dimensions:
        elements *= size
        if elements == 0 or elements >= MAX_ELEMENTS:
            return None
    block, stored = BLOCKS[number]
    return None if dimensions[0] % block else elements // block * stored


def place(tensors: Iterable[GgufTensor], data_offset: int, alignment: int, end: int) -> Iterator[GgufTensor]:
    """Yield tensors with absolute offsets; InvalidTensorDirectory unless they are contiguous and inside the file.

    Contiguous means that each tensor follows the padded end of the one before, which makes offsets aligned. The padding
    behind the last tensor may be missing, as in llama.cpp.
    """
    position = 0
    for tensor in tensors:
        start = data_offset + position
        if tensor.offset != position:
            raise InvalidTensorDirectory(
                "tensor offset does not follow the tensor before it",
                rule="GG-3",
                tensor=printable(tensor.name),
                field="offset",
                offset=tensor.entry_offset,
                expected=position,
                found=tensor.offset,
            )
        if start + tensor.byte_length > end:
            raise InvalidTensorDirectory(
                "tensor data reaches past the end of the file",
                rule="GG-3",
                tensor=printable(tensor.name),
                offset=start,
                expected=f"at most {max(0, end - start)} bytes",
                found=f"{tensor.byte_length} bytes",
            )
        yield replace(tensor, offset=start)
        position += padded(tensor.byte_length, alignment)
