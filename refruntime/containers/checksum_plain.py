"""The loops of the SLM1 checksum in plain Python.

The published step mixes a byte b with its index i, rotates and multiplies:

    h = rotate_left(h ^ b ^ i, r) * P  mod 2^64

What can be saved is work for each byte:

- `b ^ i` needs no state: NumPy prepares it for a whole chunk.
- `rotate_left(y, r) * P = y * (P << r) + (y >> (64 - r)) * P  mod 2^64`, because bits that the plain shift leaves above
  2^64 vanish in the modulus. So one step is an exclusive or, two products, a sum and one mask. The second product
  has only 2^r values: for a small rotation, such as the published one, a table replaces it.
- The other two orders of the same three operations are this step with `b ^ i` rotated right, since
  `rotate_left(h, r) ^ x = rotate_left(h ^ rotate_right(x, r), r)`. One loop serves them all.

Builds of the same published description may do otherwise (`contract.checksum_order`); `stepwise` follows their
operations one at a time, some ten times slower.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refruntime.containers.checksum_operands import CHUNK, counted_bytes, operand_values, term_values, u64
from refruntime.contract.checksum_order import Mix, Multiply, Operation, Rotate

Advance = Callable[[NDArray[np.uint8], int, int, int], int]
"""Return the state after the bytes begin .. end - 1 of a whole file: file uint8 [n], begin, end, state."""

_MASK: Final = 0xFFFFFFFFFFFFFFFF
_LARGEST_TABLE_ROTATION: Final = 8


class PlainLoop(NamedTuple):
    """A loop, the state that it begins with, and by how much its last state is rotated left."""

    advance: Advance
    state: int
    turn: int = 0


def plain_loop(operations: tuple[Operation, ...], start: int) -> PlainLoop:
    """Return the fastest plain loop for the operations of a step, none of them a bare `rotate`."""
    match operations:
        case (Mix("xor", term), Rotate(int(rotation)), Multiply(prime)):
            return PlainLoop(_Quick(term, rotation, prime, turned=False).advance, start)
        case (Rotate(int(rotation)), Mix("xor", term), Multiply(prime)):
            return PlainLoop(_Quick(term, rotation, prime, turned=True).advance, start)
        case (Mix("xor", term), Multiply(prime), Rotate(int(rotation))):
            begin = rotate_left(start, 64 - rotation)  # undo the rotation that the loop begins with
            return PlainLoop(_Quick(term, rotation, prime, turned=True).advance, begin, rotation)
    return PlainLoop(partial(stepwise, operations), start)


def stepwise(operations: tuple[Operation, ...], octets: NDArray[np.uint8], begin: int, end: int, state: int) -> int:
    """Return the state after some bytes of a file under any operations, none of them a bare `rotate`."""
    mask = _MASK
    for start in range(begin, end, CHUNK):
        byte, index = counted_bytes(octets, start, min(start + CHUNK, end))
        operands = [operand_values(operation, byte, index).tolist() for operation in operations]
        for values in zip(*operands, strict=True):
            for operation, value in zip(operations, values, strict=True):
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


class _Quick:
    """The step `h = rotate_left(h ^ term, r) * P`; with `turned` it is `h = (rotate_left(h, r) ^ term) * P`."""

    def __init__(self, term: str, rotation: int, prime: int, *, turned: bool) -> None:
        self.term, self.rotation, self.prime, self.turned = term, rotation, prime, turned
        self._table = [high * prime for high in range(1 << rotation)] if rotation <= _LARGEST_TABLE_ROTATION else []

    def advance(self, octets: NDArray[np.uint8], begin: int, end: int, state: int) -> int:
        """Return the state after some bytes of a file."""
        for start in range(begin, end, CHUNK):
            words = term_values(self.term, *counted_bytes(octets, start, min(start + CHUNK, end)))
            if self.turned and self.rotation:
                words = (words >> u64(self.rotation)) | (words << u64(64 - self.rotation))
            state = self._steps(state, words.tolist())
        return state

    def _steps(self, state: int, words: list[int]) -> int:
        """Apply one step for each word; the names are local because this loop runs once for every byte of the file."""
        mask, prime, table = _MASK, self.prime, self._table
        shifted_prime = prime << self.rotation
        rest = 64 - self.rotation
        if table:
            for word in words:
                mixed = state ^ word
                state = (mixed * shifted_prime + table[mixed >> rest]) & mask
        else:
            for word in words:
                mixed = state ^ word
                state = (mixed * shifted_prime + (mixed >> rest) * prime) & mask
        return state


def rotate_left(value: int, count: int) -> int:
    """Rotate a 64-bit word to the left."""
    count %= 64
    return (value << count | value >> (64 - count)) & _MASK
