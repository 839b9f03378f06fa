"""Read the numbers, strings, keys and values of a GGUF file, each checked against the end of the file (GG-3)."""

from __future__ import annotations

import struct
from collections.abc import Container
from typing import Final, NoReturn

from refruntime.containers.gguf_metadata import (
    MAX_ARRAY_ELEMENTS,
    MAX_STRING_BYTES,
    NUMBER_TYPES,
    GgufField,
    GgufMetadata,
    ValueType,
    printable,
    raw_of,
    text_of,
)
from refruntime.containers.gguf_tables import COMPACT_FROM, LazyTable, NameIndex
from refruntime.errors import ContractError, InvalidHeader
from refruntime.string_table import LENGTH, Places, places_of, words_of

U32: Final = struct.Struct("<I")
SIZES: Final = {int(kind): dtype.itemsize for kind, dtype in NUMBER_TYPES.items()}


class Reader:
    """Reads numbers and strings at a moving position; every read is checked against the end of the file."""

    failure: type[ContractError]
    """What a truncated or oversized value is in this section."""

    def __init__(self, data: memoryview, position: int) -> None:
        self.data = data
        self.position = position
        self.end = len(data)
        self.context = ""
        """Which key or tensor is being read, for messages."""

    def number(self, layout: struct.Struct, what: str) -> int:
        """Read one number."""
        try:
            value: int = layout.unpack_from(self.data, self.position)[0]
        except struct.error:
            self.fail("the file ends inside a number", what, expected=f"{layout.size} bytes", found=self.rest())
        self.position += layout.size
        return value

    def string(self, what: str) -> bytes:
        """Read a length-prefixed string."""
        start = self.position + 8
        length = self.number(LENGTH, what)
        if length > MAX_STRING_BYTES:
            self.fail("a string is too long", what, start - 8, expected=f"at most {MAX_STRING_BYTES}", found=length)
        if length > self.end - start:
            self.fail("a string reaches past the end of the file", what, start - 8, expected=self.rest(), found=length)
        self.position = start + length
        return bytes(self.data[start : self.position])

    def fail(
        self, detail: str, what: str, offset: int | None = None, *, expected: object = None, found: object = None
    ) -> NoReturn:
        """Raise the failure of this section, at the current position unless an offset is given."""
        where = self.position if offset is None else offset
        field, tensor = self.location(what)
        raise self.failure(
            detail, rule="GG-3", offset=where, expected=expected, found=found, field=field, tensor=tensor
        )

    def location(self, what: str) -> tuple[str, str | None]:
        """Return the field that is being read, and the tensor where there is one."""
        return f"{self.context} {what}".strip(), None

    def rest(self) -> str:
        """Say how many bytes are left."""
        return f"{self.end - self.position} bytes left"


class MetadataReader(Reader):
    """Reads the key/value section; every error is InvalidHeader."""

    failure = InvalidHeader

    def read(self, count: int) -> GgufMetadata:
        """Read the keys and remember where their values lie."""
        if count >= COMPACT_FROM:
            return self._read_compactly(count)
        fields: dict[str, GgufField] = {}
        for number in range(count):
            field = self._key(number, fields)
            fields[field.key] = field
        return GgufMetadata(fields)

    def _key(self, number: int, known: Container[str]) -> GgufField:
        """Read one key with its value."""
        self.context = f"key {number}"
        start = self.position
        key = text_of(self.string("name"))
        self.context = printable(key)
        if not key:
            self.fail("a metadata key is empty", f"key {number}", start)
        if key in known:
            self.fail("a metadata key occurs twice", f"key {number}", start)
        return self._field(key)

    def _read_compactly(self, count: int) -> GgufMetadata:
        """Walk over very many keys and note where each lies; what is wrong is read again, carefully, to be told."""
        index = NameIndex(self.name_at)
        data, end, position, add = self.data, self.end, self.position, index.add
        length_at, kind_at, sizes = LENGTH.unpack_from, U32.unpack_from, SIZES
        try:
            for _ in range(count):
                name_end = position + 8 + length_at(data, position)[0]
                kind = kind_at(data, name_end)[0]
                behind = name_end + 4 + sizes[kind] if kind in sizes else self._end_of_value(name_end, kind)
                if behind > end or not 8 < name_end - position <= MAX_STRING_BYTES + 8:
                    break
                add(position, bytes(data[position + 8 : name_end]))
                position = behind
        except (struct.error, OverflowError):
            pass  # this key ends behind the file
        self.position = position
        known = LazyTable(index, raw_of, lambda place: text_of(self.name_at(place)), self._field_at)
        twice = index.close()
        if twice is not None:
            self.position = index.places[twice]
            self._key(twice, known)
        if len(known) < count:
            self._key(len(known), known)
            self.fail("a metadata key cannot be read", f"key {len(known)}")
        return GgufMetadata(known)

    def _end_of_value(self, place: int, kind: int) -> int:
        """Return the place behind a text or an array whose type is at a place; beyond the file for a wrong one."""
        if kind == ValueType.STRING:
            return self._end_of_strings(place + 4, 1)
        if kind != ValueType.ARRAY:
            return self.end + 1
        kind, count = U32.unpack_from(self.data, place + 4)[0], LENGTH.unpack_from(self.data, place + 8)[0]
        if count > MAX_ARRAY_ELEMENTS:
            return self.end + 1
        if kind == ValueType.STRING:
            return self._end_of_strings(place + 16, count)
        return place + 16 + count * SIZES[kind] if kind in SIZES else self.end + 1

    def name_at(self, place: int) -> bytes:
        """Return the raw name of the key at a place that was walked over."""
        return bytes(self.data[place + 8 : place + 8 + LENGTH.unpack_from(self.data, place)[0]])

    def _field_at(self, place: int) -> GgufField:
        return MetadataReader(self.data, place)._key(0, ())

    def _field(self, key: str) -> GgufField:
        value_type, element_type, count = self._type("type"), None, 1
        if value_type is ValueType.ARRAY:
            element_type = self._type("element type")
            if element_type is ValueType.ARRAY:
                self.fail("arrays of arrays are not supported", "element type", self.position - 4)
            count = self.number(LENGTH, "array length")
            if count > MAX_ARRAY_ELEMENTS:
                self.fail(
                    "an array is too long",
                    "array length",
                    self.position - 8,
                    expected=f"at most {MAX_ARRAY_ELEMENTS}",
                    found=count,
                )
        offset, stored, places = self.position, value_type if element_type is None else element_type, None
        if element_type is ValueType.STRING:
            places = self._skip_strings(count)
        elif stored is ValueType.STRING:
            self._skip_string()
        else:
            size = count * NUMBER_TYPES[stored].itemsize
            if size > self.end - self.position:
                self.fail(
                    "a value reaches past the end of the file", "value", expected=f"{size} bytes", found=self.rest()
                )
            self.position += size
        return GgufField(key, value_type, element_type, count, offset, self.data, self.position, places)

    def _type(self, what: str) -> ValueType:
        number = self.number(U32, what)
        if number > max(ValueType):
            self.fail("unknown metadata value type", what, self.position - 4, expected="0 .. 12", found=number)
        return ValueType(number)

    def _skip_string(self) -> None:
        """Walk over a string without reading it."""
        self._check_room(1)
        position = self._end_of_strings(self.position, 1)
        if position > self.end or position - self.position > MAX_STRING_BYTES + LENGTH.size:
            self.string("string 0")  # it says what is wrong
        self.position = position

    def _skip_strings(self, count: int) -> Places:
        """Walk over `count` strings without reading them, and return where they lie: a vocabulary has very many."""
        self._check_room(count)
        found = places_of(self.data, self.position, count)
        if found is not None and not (words_of(self.data)[found[0]] > MAX_STRING_BYTES).any():
            places, self.position = found
            return places
        for index in range(count):  # the careful walk finds the string to blame
            self.string(f"string {index}")
        raise RuntimeError("one of these strings is too long or ends behind the file")

    def _check_room(self, count: int) -> None:
        """Refuse more strings than there is room for their lengths."""
        if count > (self.end - self.position) // LENGTH.size:
            self.fail(
                "an array of strings reaches past the end of the file", "value", expected=self.rest(), found=count
            )

    def _end_of_strings(self, position: int, count: int) -> int:
        """Return the place behind so many strings, beyond the file if they do not fit into it."""
        data, unpack = self.data, LENGTH.unpack_from
        if count > (self.end - position) // LENGTH.size:
            return self.end + 1
        try:
            for _ in range(count):
                position += 8 + unpack(data, position)[0]
        except (struct.error, OverflowError):
            return self.end + 1
        return position
