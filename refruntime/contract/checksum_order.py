"""The operations of one checksum step as data: the text of `SL-5.order`, read and written.

A step is a list of operations on the state `h` (u64) for the byte `byte` at the place `index`, in order:

    mix                          h ^= byte ^ index                    (the published words; the default)
    xor TERM, add TERM           h ^= TERM, h += TERM                 TERM is one of `TERMS`
    rotate                       rotate left by SL-5.rotation
    rotate N                     rotate left by N
    rotate [right] by index % M [+ A]     also `by byte`: the distance changes from byte to byte
    multiply                     h *= 0x100000001b3, the FNV prime
    multiply FACTOR              h *= an odd number

So `mix, rotate, multiply` is the default, `xor byte, rotate, multiply, xor index, rotate, multiply` takes two rounds
for a byte, and `xor byte, multiply, rotate, add index` adds the index at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

FNV_PRIME: Final = 0x100000001B3

TERMS: Final = (
    "byte",
    "index",
    "byte ^ index",
    "byte + index",
    "index + 1",
    "index & 255",
    "index * 0x100000001b3",
    "index * 0x9e3779b97f4a7c15",
    "byte ^ (index + 1)",
    "byte + (index & 255)",
    "index << 8 | byte",
    "byte << 8 * (index % 8)",
    "byte * (index + 1)",
)
"""What may be mixed into the state; products and shifts are taken modulo 2^64."""

MAX_OPERATIONS: Final = 16


class OrderError(ValueError):
    """The text names no operation that is known."""


@dataclass(frozen=True)
class Mix:
    """Exclusive or, or addition, of a term."""

    how: Literal["xor", "add"]
    term: str

    def __str__(self) -> str:
        return f"{self.how} {self.term}"


@dataclass(frozen=True)
class Rotate:
    """Rotation to the left by `distance`; None is that of the profile (SL-5.rotation)."""

    distance: int | None = None

    def __str__(self) -> str:
        return "rotate" if self.distance is None else f"rotate {self.distance}"


@dataclass(frozen=True)
class RotateBy:
    """Rotation by a distance that follows the index or the byte: `value % modulus + offset`."""

    by: Literal["index", "byte"]
    modulus: int
    offset: int = 0
    right: bool = False

    def __str__(self) -> str:
        direction, offset = " right" * self.right, f" + {self.offset}" * bool(self.offset)
        return f"rotate{direction} by {self.by} % {self.modulus}{offset}"


@dataclass(frozen=True)
class Multiply:
    """Multiplication modulo 2^64 by an odd factor."""

    factor: int = FNV_PRIME

    def __str__(self) -> str:
        return "multiply" if self.factor == FNV_PRIME else f"multiply {self.factor:#x}"


Operation = Mix | Rotate | RotateBy | Multiply

_MIX: Final = Mix("xor", "byte ^ index")
_ROTATE_BY: Final = re.compile(r"rotate( right)? by (index|byte) % ([0-9]{1,2})(?: \+ ([0-9]{1,2}))?")


def read_order(text: str) -> tuple[Operation, ...]:
    """Return the operations that a text names: OrderError."""
    parts = text.split(", ")
    if len(parts) > MAX_OPERATIONS:
        raise OrderError(f"{len(parts)} operations; at most {MAX_OPERATIONS}")
    return tuple(_read_operation(part) for part in parts)


def write_order(operations: tuple[Operation, ...]) -> str:
    """Return the text of some operations; `read_order` gives equal operations back."""
    return ", ".join("mix" if operation == _MIX else str(operation) for operation in operations)


def _read_operation(text: str) -> Operation:
    word, _, rest = text.partition(" ")
    if text == "mix":
        return _MIX
    if word in ("xor", "add") and rest in TERMS:
        return Mix("xor" if word == "xor" else "add", rest)
    if text == "rotate":
        return Rotate()
    if word == "rotate" and re.fullmatch("[0-9]{1,2}", rest) and int(rest) < 64:
        return Rotate(int(rest))
    if (found := _ROTATE_BY.fullmatch(text)) and 1 <= int(found[3]) <= 64 and int(found[4] or 0) < 64:
        return RotateBy("index" if found[2] == "index" else "byte", int(found[3]), int(found[4] or 0), bool(found[1]))
    if text == "multiply":
        return Multiply()
    if word == "multiply" and re.fullmatch("0x[0-9a-f]{1,16}", rest) and int(rest, 16) % 2:
        return Multiply(int(rest, 16))
    raise OrderError(
        f"{text!r} is no operation; expected mix, xor or add with one of {', '.join(TERMS)}, rotate, rotate N, "
        "rotate [right] by index|byte % M [+ A], multiply, multiply 0xODD"
    )
