"""Write the pieces of a WebAssembly module: numbers, names, types, the few instructions that helpers are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

ValueType = Literal["i32", "i64", "f32", "f64"]

VALUE_TYPES: Final[dict[ValueType, bytes]] = {"i32": b"\x7f", "i64": b"\x7e", "f32": b"\x7d", "f64": b"\x7c"}
FUNCTION_FORM: Final = b"\x60"
END: Final = b"\x0b"


def unsigned(value: int, width: int = 1) -> bytes:
    """Return an unsigned LEB128 number of at least `width` bytes; linkers leave such wider ones behind."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    while len(encoded) < width:
        encoded[-1] |= 0x80
        encoded.append(0)
    return bytes(encoded)


def signed(value: int) -> bytes:
    """Return a signed LEB128 number."""
    encoded = bytearray()
    while not -64 <= value < 64:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value & 0x7F)
    return bytes(encoded)


def name(text: str) -> bytes:
    """Return a name: its length in bytes, then UTF-8."""
    data = text.encode()
    return unsigned(len(data)) + data


def vector(items: Sequence[bytes]) -> bytes:
    """Return a count and the items."""
    return unsigned(len(items)) + b"".join(items)


def function_type(parameters: Iterable[ValueType], results: Iterable[ValueType]) -> bytes:
    """Return a function type."""
    kinds = [vector([VALUE_TYPES[kind] for kind in side]) for side in (parameters, results)]
    return FUNCTION_FORM + b"".join(kinds)


def body(instructions: bytes, local_types: Sequence[ValueType] = ()) -> bytes:
    """Return the body of a function without its size: locals, instructions, `end`."""
    return vector([unsigned(1) + VALUE_TYPES[kind] for kind in local_types]) + instructions + END


def i32_const(value: int) -> bytes:
    """Return `i32.const`; the value may be given unsigned."""
    return b"\x41" + signed(_as_signed(value, 32))


def i64_const(value: int) -> bytes:
    """Return `i64.const`; the value may be given unsigned."""
    return b"\x42" + signed(_as_signed(value, 64))


def call(function: int) -> bytes:
    """Return `call`."""
    return b"\x10" + unsigned(function)


def local_get(index: int) -> bytes:
    """Return `local.get`."""
    return b"\x20" + unsigned(index)


def global_get(index: int) -> bytes:
    """Return `global.get`."""
    return b"\x23" + unsigned(index)


def global_set(index: int) -> bytes:
    """Return `global.set`."""
    return b"\x24" + unsigned(index)


def if_then(instructions: bytes) -> bytes:
    """Return `if` without parameters, results and `else`."""
    return b"\x04\x40" + instructions + END


def _as_signed(value: int, bits: int) -> int:
    value %= 2**bits
    return value - 2**bits if value >= 2 ** (bits - 1) else value
