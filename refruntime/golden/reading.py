"""Read JSON that others wrote: bounded, strict, and with a place in every complaint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from refruntime.golden.values import (
    MAX_JSON_INTEGER,
    disk_json,
    hex_float,
    is_float32,
    parse_float,
    parse_hex_float,
    parse_integer,
)

MAX_DEPTH: Final = 32
MAX_BYTES_VALUE: Final = 1 << 24
"""Longest value of bytes in a case; longer transfers are not needed to reach any limit of the contract."""

_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*")
_SHOWN: Final = 80


class GoldenError(ValueError):
    """A golden file is wrong: `file`, `path` inside the JSON (empty for the whole file), `expected` and `found`."""

    def __init__(self, file: str, path: str, expected: str, found: str) -> None:
        self.file, self.path, self.expected, self.found = file, path, expected, found
        place = f"{file}: {path}" if path else file
        super().__init__(f"{place}: expected {expected}, found {found}")


class _Wrong:
    """A JSON number that the format does not allow, kept until its place is known."""

    def __init__(self, literal: str) -> None:
        self.literal = literal if len(literal) <= _SHOWN else literal[:_SHOWN] + "..."


class _Pairs(dict[str, Any]):
    """An object, with the first key that it holds twice."""

    doubled: str | None = None


def parse_document(data: bytes, file: str) -> Any:
    """Parse JSON of the golden format: ASCII, integers only, no key twice, at most MAX_DEPTH deep. GoldenError."""
    try:
        value = json.loads(
            data.decode("ascii"),
            parse_int=lambda text: (
                int(text) if len(text) <= 17 and abs(int(text)) <= MAX_JSON_INTEGER else _Wrong(text)
            ),
            parse_float=_Wrong,
            parse_constant=_Wrong,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError as error:
        raise GoldenError(file, "", "ASCII", f"byte {data[error.start]:#04x} at offset {error.start}") from None
    except json.JSONDecodeError as error:
        raise GoldenError(file, "", "JSON", f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise GoldenError(file, "", f"JSON at most {MAX_DEPTH} levels deep", "more levels") from None
    _check(value, file)
    return value


def _object(pairs: list[tuple[str, Any]]) -> _Pairs:
    result = _Pairs(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        result.doubled = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return result


def _check(value: Any, file: str) -> None:
    """Find numbers that are not allowed, doubled keys and too many levels, in reading order."""
    waiting: list[tuple[str, int, Any]] = [("$", 1, value)]
    while waiting:
        path, depth, item = waiting.pop()
        if isinstance(item, _Wrong):
            limit = "an integer of at most 2^53 - 1 in magnitude (others are strings)"
            raise GoldenError(file, path, limit, item.literal)
        if isinstance(item, _Pairs) and item.doubled is not None:
            raise GoldenError(file, path, "every key once", f"{shown(item.doubled)} twice")
        if isinstance(item, dict | list) and depth > MAX_DEPTH:
            raise GoldenError(file, "", f"JSON at most {MAX_DEPTH} levels deep", "more levels")
        if isinstance(item, dict):
            waiting += reversed([(f"{path}.{key[:_SHOWN]}", depth + 1, inner) for key, inner in item.items()])
        elif isinstance(item, list):
            waiting += reversed([(f"{path}[{index}]", depth + 1, inner) for index, inner in enumerate(item)])


def check_disk_form(data: bytes, document: Any, file: str) -> None:
    """Refuse a JSON file that is not written as the format asks. GoldenError."""
    wanted = disk_json(document)
    if data != wanted:
        pairs = zip(data, wanted, strict=False)
        offset = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(data), len(wanted)))
        expected = f"the on-disk form ({wanted[offset : offset + 20]!r} at offset {offset})"
        raise GoldenError(file, "", expected, f"{data[offset : offset + 20]!r}")


def shown(value: object) -> str:
    """Return any JSON value in a short form that is safe to show."""
    try:
        text = json.dumps(value, default=lambda item: getattr(item, "literal", type(item).__name__))
    except (ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


@dataclass(frozen=True)
class JsonNode:
    """A value inside a JSON file. Every method reads one kind of value and raises GoldenError for any other."""

    value: Any
    file: str
    path: str = "$"

    def fail(self, expected: str, found: str | None = None) -> NoReturn:
        """Raise GoldenError for this place."""
        raise GoldenError(self.file, self.path, expected, shown(self.value) if found is None else found)

    def object(self, required: tuple[str, ...] = (), optional: tuple[str, ...] = ()) -> dict[str, JsonNode]:
        """Return the members of an object with all of `required`, beside them `optional` ones; no comments."""
        members = self.members()
        allowed = (*required, *optional)
        for key, node in members.items():
            if key not in allowed:
                raise GoldenError(self.file, node.path, f"one of the keys {', '.join(allowed)}", "an unknown key")
        for key in required:
            if key not in members:
                self.fail(f"the key {key!r}", "none")
        return members

    def members(self) -> dict[str, JsonNode]:
        """Return the members of an object with any keys; comments are dropped."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        items = self.value.items()
        return {key: JsonNode(item, self.file, f"{self.path}.{key}") for key, item in items if not key.startswith("_")}

    def items(self, least: int = 0) -> list[JsonNode]:
        """Return the items of a list."""
        if not isinstance(self.value, list) or len(self.value) < least:
            self.fail("a list" if least == 0 else f"a list of at least {least}")
        return list(self._items())

    def _items(self) -> Iterator[JsonNode]:
        for index, item in enumerate(self.value):
            yield JsonNode(item, self.file, f"{self.path}[{index}]")

    def string(self, pattern: str = "", meaning: str = "a string") -> str:
        """Return a string that fits the whole pattern."""
        if not isinstance(self.value, str) or (pattern and not re.fullmatch(pattern, self.value)):
            self.fail(meaning)
        return str(self.value)

    def one_of(self, options: tuple[str, ...]) -> str:
        """Return one of these strings."""
        if not isinstance(self.value, str) or self.value not in options:
            self.fail(f"one of {', '.join(options)}")
        return str(self.value)

    def true(self) -> bool:
        """Return True for `true`."""
        if self.value is not True:
            self.fail("true")
        return True

    def boolean(self) -> bool:
        """Return a boolean."""
        if not isinstance(self.value, bool):
            self.fail("true or false")
        return bool(self.value)

    def count(self, most: int = MAX_JSON_INTEGER) -> int:
        """Return a JSON number 0 .. most."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not 0 <= self.value <= most:
            self.fail(f"an integer 0 .. {most}")
        return int(self.value)

    def integer(self, least: int = -(2**63), most: int = 2**64 - 1) -> int:
        """Return an integer, given as a number or as a decimal string."""
        number = parse_integer(self.value)
        if number is None or not least <= number <= most:
            self.fail(f"an integer {least} .. {most}")
        return number

    def floating(self) -> float:
        """Return a float of a case: an integer, a decimal string or a hex float."""
        number = parse_float(self.value)
        if number is None:
            self.fail("an integer, a decimal string or a hex float")
        return number

    def float32(self) -> float:
        """Return a float32 given as a hex float in its shortest form."""
        number = parse_hex_float(self.value) if isinstance(self.value, str) else None
        if number is None or not is_float32(number):
            nearest = parse_float(self.value)
            hint = f" such as {hex_float(nearest)!r}" if nearest is not None and is_float32(nearest) else ""
            self.fail(f"a float32 as a hex float in its shortest form{hint}")
        return number

    def hex_bytes(self) -> bytes:
        """Return bytes given as lower-case hex."""
        if not isinstance(self.value, str) or not _HEX.fullmatch(self.value):
            self.fail("bytes as lower-case hex, two digits each")
        return bytes.fromhex(self.value)

    def bytes(self) -> bytes:
        """Return bytes of a case: hex, or an object with `text`, or with `hex` and perhaps `repeat`."""
        if isinstance(self.value, str):
            return self.hex_bytes()
        members = self.object(optional=("text", "hex", "repeat"))
        if ("text" in members) == ("hex" in members) or {"text", "repeat"} <= members.keys():
            self.fail("bytes as hex, or an object with either `text` or `hex`, `repeat` only beside `hex`")
        if "hex" in members:
            once = members["hex"].hex_bytes()
        else:
            try:
                once = members["text"].string().encode("utf-8")
            except UnicodeEncodeError:
                members["text"].fail("text that UTF-8 can hold")
        times = members["repeat"].count() if "repeat" in members else 1
        if len(once) * times > MAX_BYTES_VALUE:
            self.fail(f"at most {MAX_BYTES_VALUE} bytes", f"{len(once) * times}")
        return once * times
