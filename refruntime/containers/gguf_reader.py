"""Read the numbers, strings, keys and values of a GGUF file, each checked against the end of the file (GG-3)."""

from __future__ import annotations

import struct
from typing import Final, NoReturn

from refruntime.containers.gguf_metadata import (
    LENGTH,
    MAX_ARRAY_ELEMENTS,
    MAX_STRING_BYTES,
    NUMBER_TYPES,
    GgufField,
    GgufMetadata,
    ValueType,
    printable,
    text_of,
)
from refruntime.errors import ContractError, InvalidHeader

U32: Final = struct.Struct("<I")


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
        fields: dict[str, GgufField] = {}
        for index in range(count):
            self.context = f"key {index}"
            start = self.position
            key = text_of(self.string("name"))
            self.context = printable(key)
            if not key:
                self.fail("a metadata key is empty", f"key {index}", start)
            if key in fields:
                self.fail("a metadata key occurs twice", f"key {index}", start)
            fields[key] = self._field(key)
        return GgufMetadata(fields)

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
        field = GgufField(key, value_type, element_type, count, self.position, self.data)
        stored = field.stored_type
        if stored is ValueType.STRING:
            self._skip_strings(count)
        else:
            size = count * NUMBER_TYPES[stored].itemsize
            if size > self.end - self.position:
                self.fail(
                    "a value reaches past the end of the file", "value", expected=f"{size} bytes", found=self.rest()
                )
            self.position += size
        return field

    def _type(self, what: str) -> ValueType:
        number = self.number(U32, what)
        if number > max(ValueType):
            self.fail("unknown metadata value type", what, self.position - 4, expected="0 .. 12", found=number)
        return ValueType(number)

    def _skip_strings(self, count: int) -> None:
        """Walk over `count` strings without reading them; a vocabulary has hundreds of thousands."""
        if count > (self.end - self.position) // LENGTH.size:
            self.fail(
                "an array of strings reaches past the end of the file", "value", expected=self.rest(), found=count
            )
        data, position, unpack = self.data, self.position, LENGTH.unpack_from
        start = position
        try:
            for _ in range(count):
                position += 8 + unpack(data, position)[0]
        except (struct.error, OverflowError):
            position = self.end + 1
        if position <= self.end and self.end - start <= MAX_STRING_BYTES:
            self.position = position
            return
        for index in range(count):  # the careful walk finds the string to blame, or none in a file above 1 GiB
            self.string(f"string {index}")
