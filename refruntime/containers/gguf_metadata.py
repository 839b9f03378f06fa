"""Hold the key/value section of a GGUF file: typed fields whose values materialise when asked for.

Source: the GGUF specification in ggml's `docs/gguf.md` and the checks of llama.cpp's own reader (GG-3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.errors import ContractError, InvalidHeader
from refruntime.string_table import LENGTH, ROOM, Places, StringTable

MAX_STRING_BYTES: Final = 1 << 30
"""Longest string (GG-3)."""

MAX_ARRAY_ELEMENTS: Final = 1 << 30
"""Most elements of an array (GG-3)."""


class ValueType(IntEnum):
    """Type of a metadata value, with the numbers of the file format."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


NUMBER_TYPES: Final[Mapping[ValueType, np.dtype[Any]]] = {
    ValueType.UINT8: np.dtype("u1"),
    ValueType.INT8: np.dtype("i1"),
    ValueType.UINT16: np.dtype("<u2"),
    ValueType.INT16: np.dtype("<i2"),
    ValueType.UINT32: np.dtype("<u4"),
    ValueType.INT32: np.dtype("<i4"),
    ValueType.FLOAT32: np.dtype("<f4"),
    ValueType.BOOL: np.dtype("u1"),
    ValueType.UINT64: np.dtype("<u8"),
    ValueType.INT64: np.dtype("<i8"),
    ValueType.FLOAT64: np.dtype("<f8"),
}
"""How the bytes of every type of fixed size are read; any non-zero byte is a true bool."""

GgufScalar = bool | int | float | str
GgufValue = GgufScalar | list[str] | NDArray[Any]


def text_of(raw: bytes) -> str:
    """Decode bytes of a file into text; bytes that are not UTF-8 become surrogates, so that nothing is lost."""
    return raw.decode("utf-8", "surrogateescape")


def raw_of(text: str) -> bytes:
    """Return the bytes that `text_of` decoded."""
    return text.encode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """Return text that may stand in an error message: escaped and of bounded length."""
    escaped = text[:100].encode("unicode_escape").decode("ascii")
    return escaped if len(text) <= 100 else f"{escaped}... ({len(text)} characters)"


@dataclass(frozen=True, slots=True)
class GgufField:
    """One key and where its value lies; `value` reads it.

    `offset` is the absolute position of the value: of the number, of a string's length prefix, or of an array's first
    element; `end` is the position behind it. `element_type` is None unless the value is an array; `count` is 1 unless
    it is. Of an array of strings `places` [count] are the positions of their length prefixes.
    """

    key: str
    type: ValueType
    element_type: ValueType | None
    count: int
    offset: int
    data: memoryview
    end: int
    places: Places | None = field(default=None, compare=False, repr=False)

    @property
    def type_name(self) -> str:
        """Return the type for people, such as `UINT32` or `ARRAY of STRING`."""
        return self.type.name if self.element_type is None else f"{self.type.name} of {self.element_type.name}"

    @property
    def stored_type(self) -> ValueType:
        """Return the type of the bytes at `offset`: that of the elements of an array, else that of the value."""
        return self.type if self.element_type is None else self.element_type

    @property
    def value(self) -> GgufValue:
        """Read the value: a Python scalar, a NumPy array of numbers (bools as bool), or a list of strings."""
        if self.element_type is ValueType.STRING:
            return [text_of(raw) for raw in self.byte_strings()]
        if self.type is ValueType.STRING:
            return text_of(self.byte_strings()[0])
        numbers = self.numbers()
        return numbers if self.type is ValueType.ARRAY else numbers[0].item()

    def numbers(self) -> NDArray[Any]:
        """Read the numbers of a scalar or array, [count], in their stored type; a view of the file except for bools."""
        stored = self.stored_type
        numbers = np.frombuffer(self.data, NUMBER_TYPES[stored], self.count, self.offset)
        return numbers != 0 if stored is ValueType.BOOL else numbers

    def byte_strings(self) -> list[bytes]:
        """Read the strings of a scalar or array as bytes."""
        if self.places is None:
            return [bytes(self.data[self.offset + LENGTH.size : self.end])]
        return list(self.string_table())

    def string_table(self) -> StringTable:
        """Return the first `count` strings of an array, in a copy, so that the file may change or go."""
        places = np.empty(0, np.int64) if self.places is None else self.places
        end = self.end if self.count >= len(places) else int(places[self.count])
        raw = b"".join((self.data[self.offset : end], bytes(ROOM)))
        return StringTable(raw, places[: self.count] - self.offset)


class GgufMetadata(Mapping[str, GgufValue]):
    """Map keys to values; typed readers refuse a wrong type with InvalidHeader, as llama.cpp does (GG-4).

    A value is read from the file at every access; keep it when it is large.
    """

    def __init__(self, fields: Mapping[str, GgufField]) -> None:
        self.fields = fields

    def __getitem__(self, key: str) -> GgufValue:
        return self.fields[key].value

    def __contains__(self, key: object) -> bool:
        return key in self.fields

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    @contextmanager
    def located(self) -> Iterator[None]:
        """Add the offset of the value to every failure inside that names one of these keys and no place."""
        try:
            yield
        except ContractError as error:
            field = self.fields.get(error.field or "")
            if error.offset is None and field is not None:
                error.offset = field.offset
            raise

    def u32(self, key: str, default: int | None = None) -> int:
        """Read an unsigned 32-bit integer; without a default the key is required (InvalidHeader)."""
        return int(self._scalar(key, ValueType.UINT32, default))

    def f32(self, key: str, default: float | None = None) -> float:
        """Read a 32-bit float; without a default the key is required (InvalidHeader)."""
        return float(self._scalar(key, ValueType.FLOAT32, default))

    def boolean(self, key: str, default: bool | None = None) -> bool:
        """Read a bool; without a default the key is required (InvalidHeader)."""
        return bool(self._scalar(key, ValueType.BOOL, default))

    def text(self, key: str, default: str | None = None) -> str:
        """Read a string; without a default the key is required (InvalidHeader)."""
        return str(self._scalar(key, ValueType.STRING, default))

    def strings(self, key: str) -> list[bytes]:
        """Read a required array of strings as bytes (InvalidHeader)."""
        return self._required(key, ValueType.ARRAY, ValueType.STRING).byte_strings()

    def string_table(self, key: str) -> StringTable:
        """Return a required array of strings, which are cut from a copy when they are asked for (InvalidHeader)."""
        return self._required(key, ValueType.ARRAY, ValueType.STRING).string_table()

    def numbers(self, key: str, *element_types: ValueType) -> NDArray[Any]:
        """Read a required array of numbers, [count], of one of the element types (InvalidHeader)."""
        return self._required(key, ValueType.ARRAY, *element_types).numbers()

    def _scalar(self, key: str, value_type: ValueType, default: Any) -> Any:
        if default is not None and key not in self.fields:
            return default
        return self._required(key, value_type).value

    def _required(self, key: str, value_type: ValueType, *element_types: ValueType) -> GgufField:
        expected = " or ".join(f"{value_type.name} of {each.name}" for each in element_types) or value_type.name
        field = self.fields.get(key)
        if field is None:
            raise InvalidHeader("a required metadata key is missing", rule="GG-4", field=key, expected=expected)
        if field.type is not value_type or (element_types and field.element_type not in element_types):
            raise InvalidHeader(
                "a metadata value has the wrong type",
                rule="GG-4",
                field=key,
                offset=field.offset,
                expected=expected,
                found=field.type_name,
            )
        return field
