"""Compute the SLM1 checksum (SL-5) fast enough for real files, in plain Python.

The published step mixes a byte b with its index i, rotates and multiplies:

    h = rotate_left(h ^ b ^ i, r) * P  mod 2^64

Each step needs the one before, so it cannot be spread over lanes. What can be saved is work per byte:

- `b ^ i` needs no state: NumPy prepares it for a whole chunk.
- `rotate_left(y, r) * P = y * (P << r) + (y >> (64 - r)) * P  mod 2^64`, because bits that the plain shift leaves above
  2^64 vanish in the modulus. So one step is an exclusive or, two products, a sum and one mask. The second product
  has only 2^r values: for the small rotation that is in use, a table of 32 numbers replaces it.
- The other two orders of the same three operations are this step with `b ^ i` rotated right, since
  `rotate_left(h, r) ^ x = rotate_left(h ^ rotate_right(x, r), r)`. One loop serves them all.

Builds of the same published description may do otherwise (`contract.checksum_order`); `checksum_stepwise` follows their
operations one at a time, some ten times slower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.checksum_order import TERMS, Mix, Multiply, Operation, Rotate, RotateBy, read_order
from refruntime.contract.profile import Profile

CHECKSUM_FIELD: Final = (100, 108)
"""Bytes of the header that count as zero, because they hold the checksum itself."""

Words = NDArray[np.uint64]

_MASK: Final = 0xFFFFFFFFFFFFFFFF
_CHUNK: Final = 1 << 14  # bytes per pass: the prepared words stay in a processor cache
_LARGEST_TABLE_ROTATION: Final = 8


def _u64(value: int) -> np.uint64:
    return np.uint64(value)


_TERMS: Final[dict[str, Callable[[Words, Words], Words]]] = dict(
    zip(
        TERMS,
        (
            lambda byte, index: byte,
            lambda byte, index: index,
            lambda byte, index: byte ^ index,
            lambda byte, index: byte + index,
            lambda byte, index: index + _u64(1),
            lambda byte, index: index & _u64(255),
            lambda byte, index: byte ^ (index + _u64(1)),
            lambda byte, index: byte + (index & _u64(255)),
            lambda byte, index: index << _u64(8) | byte,
            lambda byte, index: byte << (_u64(8) * (index % _u64(8))),
            lambda byte, index: byte * (index + _u64(1)),
        ),
        strict=True,
    )
)
"""Each term of `TERMS` as it is computed from bytes and indices: uint64 [n], uint64 [n] -> uint64 [n]."""


def slm1_checksum(data: bytes | memoryview, profile: Profile) -> int:
    """Return the checksum of a whole SLM1 file under the start, rotation and order of the profile (SL-5)."""
    operations = resolved_operations(profile)
    match operations:
        case (Mix("xor", term), Rotate(int(rotation)), Multiply(prime)):
            return _Quick(term, rotation, prime, turned=False).checksum(data, profile.checksum_start)
        case (Rotate(int(rotation)), Mix("xor", term), Multiply(prime)):
            return _Quick(term, rotation, prime, turned=True).checksum(data, profile.checksum_start)
        case (Mix("xor", term), Multiply(prime), Rotate(int(rotation))):
            start = _rotate_left(profile.checksum_start, 64 - rotation)  # undo the rotation that the loop begins with
            return _rotate_left(_Quick(term, rotation, prime, turned=True).checksum(data, start), rotation)
    return checksum_stepwise(data, operations, profile.checksum_start)


def resolved_operations(profile: Profile) -> tuple[Operation, ...]:
    """Return the operations of a step, with the rotation of the profile in the place of a bare `rotate`."""
    plain = Rotate(profile.checksum_rotation)
    return tuple(plain if operation == Rotate() else operation for operation in read_order(profile.checksum_order))


# One operation at a time ---------------------------------------------------------------------------------------------


def checksum_stepwise(data: bytes | memoryview, operations: tuple[Operation, ...], start: int) -> int:
    """Return the checksum of a whole file under any operations, none of them a bare `rotate`."""
    mask = _MASK
    octets = np.frombuffer(data, np.uint8)
    state = start
    for begin in range(0, octets.size, _CHUNK):
        byte, index = counted_bytes(octets, begin, begin + _CHUNK)
        for steps in zip(*(operand_values(operation, byte, index) for operation in operations), strict=True):
            for operation, value in zip(operations, steps, strict=True):
                match operation:
                    case Mix("xor"):
                        state ^= value
                    case Mix("add"):
                        state = state + value & mask
                    case Multiply():
                        state = state * value & mask
                    case _:
                        state = (state << value | state >> (64 - value)) & mask
    return state


def counted_bytes(octets: NDArray[np.uint8], start: int, stop: int) -> tuple[Words, Words]:
    """Return bytes, those of the checksum field as zero, and their indices: uint64 [n], uint64 [n]."""
    chunk = octets[start:stop].astype(np.uint64)
    first, last = (min(max(edge - start, 0), chunk.size) for edge in CHECKSUM_FIELD)
    chunk[first:last] = 0
    return chunk, np.arange(start, start + chunk.size, dtype=np.uint64)


def operand_values(operation: Operation, byte: Words, index: Words) -> list[int]:
    """Return what an operation takes at each byte: the mixed term, the distance to the left, or the factor."""
    match operation:
        case Mix(_, term):
            values: list[int] = _TERMS[term](byte, index).tolist()
        case Multiply(factor):
            values = [factor] * byte.size
        case RotateBy(by, modulus, offset, right):
            distance = ((byte if by == "byte" else index) % _u64(modulus) + _u64(offset)) % _u64(64)
            values = ((_u64(64) - distance) % _u64(64) if right else distance).tolist()
        case Rotate(distance):
            values = [distance or 0] * byte.size
    return values


# Exclusive or, rotate, multiply --------------------------------------------------------------------------------------


class _Quick:
    """The step `h = rotate_left(h ^ term, r) * P`; with `turned` it is `h = (rotate_left(h, r) ^ term) * P`."""

    def __init__(self, term: str, rotation: int, prime: int, *, turned: bool) -> None:
        self.term, self.rotation, self.prime, self.turned = term, rotation, prime, turned

    def checksum(self, data: bytes | memoryview, state: int) -> int:
        """Return the state after all bytes."""
        octets = np.frombuffer(data, np.uint8)
        for start in range(0, octets.size, _CHUNK):
            words = _TERMS[self.term](*counted_bytes(octets, start, start + _CHUNK))
            if self.turned and self.rotation:
                words = (words >> _u64(self.rotation)) | (words << _u64(64 - self.rotation))
            state = self._advance(state, words.tolist())
        return state

    def _advance(self, state: int, words: list[int]) -> int:
        """Apply one step per word; the names are local because this loop runs once per byte of the file."""
        mask, prime = _MASK, self.prime
        shifted_prime = prime << self.rotation
        rest = 64 - self.rotation
        if self.rotation <= _LARGEST_TABLE_ROTATION:
            table = [high * prime for high in range(1 << self.rotation)]
            for word in words:
                mixed = state ^ word
                state = (mixed * shifted_prime + table[mixed >> rest]) & mask
        else:
            for word in words:
                mixed = state ^ word
                state = (mixed * shifted_prime + (mixed >> rest) * prime) & mask
        return state


def _rotate_left(value: int, count: int) -> int:
    count %= 64
    return (value << count | value >> (64 - count)) & _MASK
