"""The steps that the published description of the checksum admits, and how to undo them.

"A fixed start, bytes 100 to 107 as zero, mix byte and index, rotate, multiply by the FNV prime": this leaves open how
byte and index are mixed (exclusive or, addition, in one term or one by one), in which order the operations come,
whether a byte takes one round or two, and what the rotation distance is or follows. `structures` lists the steps;
a bare `Rotate()` stands for any of the `distances`. Each operation can be undone, so no start is needed to test a step:
two files that differ in one byte alone had the same state before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from refruntime.containers.checksum_operands import counted_bytes, operand_values
from refruntime.contract.checksum_order import FNV_PRIME, Mix, Multiply, Operation, Rotate, RotateBy

Step = tuple[Operation, ...]
States = NDArray[np.uint64]

FACTORS: Final = (
    FNV_PRIME,
    0x01000193,  # the FNV prime of 32 bits
    *(0x1000001B3, 0x1000000001B3, 0x10000000001B3),  # with a zero lost or doubled
    0x9E3779B97F4A7C15,  # 2^64 divided by the golden ratio
    *(0x5851F42D4C957F2D, 0x2545F4914F6CDD1D, 0xC6A4A7935BD1E995),  # Knuth's MMIX, xorshift*, murmur
    *(0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F),  # xxhash
    *(31, 33, 131),  # string hashes
)
"""Multipliers that are tried; any other is worked out (`formula_factor`) unless a rotation hides its high bits."""

_MASK: Final = 2**64 - 1
_R, _M = Rotate(), Multiply()
UNDONE: Final = 2
"""Bytes that are undone to test a step: every operation of the last one comes after the byte that differs."""

_HOW: Final[tuple[Literal["xor", "add"], ...]] = ("xor", "add")
_BETWEEN: Final[tuple[Step, ...]] = ((), (_R,), (_M,), (_R, _M), (_M, _R))
_ALONE: Final = (
    *("byte + index", "byte ^ index", "byte ^ (index + 1)", "byte + (index & 255)"),
    *("index << 8 | byte", "byte << 8 * (index % 8)", "byte * (index + 1)", "byte"),
)
_PAIRS: Final = (
    *(("byte", "index"), ("byte", "index + 1"), ("byte", "index & 255")),
    *(("byte", "index * 0x100000001b3"), ("byte", "index * 0x9e3779b97f4a7c15")),
    ("byte << 8 * (index % 8)", "index"),
)


@cache
def structures() -> tuple[Step, ...]:
    """Return every step of the family, the simplest first."""
    found: list[Step] = []
    for before, between, after in product(_BETWEEN, repeat=3):
        for how, other, (octet, term) in product(_HOW, _HOW, _PAIRS):
            byte, index = Mix(how, octet), Mix(other, term)
            found.append((*before, byte, *between, index, *after))
            found.append((*before, index, *between, byte, *after))
    for before, after in product(_BETWEEN, repeat=2):
        found += [(*before, Mix(how, term), *after) for how, term in product(_HOW, _ALONE)]
    usable = (_plain(step) for step in found if _M in step)
    return tuple(dict.fromkeys(sorted(usable, key=_effort)))


def _plain(step: Step) -> Step:
    """Write `xor byte, xor index` as the one term that it is, so that steps of equal meaning are equal."""
    words = [str(operation) for operation in step]
    for pair in (("xor byte", "xor index"), ("xor index", "xor byte")):
        for place in range(len(words) - 1):
            if tuple(words[place : place + 2]) == pair:
                return (*step[:place], Mix("xor", "byte ^ index"), *step[place + 2 :])
    return step


def _effort(step: Step) -> tuple[int, int, int]:
    mixes = _mixes(step)
    return len(step), sum(mix.how == "add" for mix in mixes), sum(len(mix.term) for mix in mixes)


def _mixes(step: Step) -> list[Mix]:
    return [operation for operation in step if isinstance(operation, Mix)]


@cache
def distances() -> tuple[Operation, ...]:
    """Return every rotation that may stand for a bare one, constants first."""
    constants = [Rotate(distance) for distance in range(1, 64)]
    moving = [
        RotateBy("index", modulus, offset, right)
        for modulus, offset, right in product(range(2, 65), (0, 1), (False, True))
    ]
    by_byte = [
        RotateBy("byte", modulus, offset, right)
        for modulus, offset, right in product((8, 16, 31, 32, 63, 64), (0, 1), (False, True))
    ]
    shifted = [RotateBy("index", modulus, offset) for modulus in (8, 16, 32, 64) for offset in range(2, 64)]
    return (*constants, *moving, *by_byte, *shifted)


@dataclass(frozen=True)
class Ending:
    """Files of one length that differ in one byte near their end, and the build's sums of them."""

    files: tuple[bytes, ...]
    sums: tuple[int, ...]

    def few(self) -> Ending:
        """Return the first two."""
        return Ending(self.files[:2], self.sums[:2])

    def agrees(self, step: Step) -> bool:
        """Say whether the step, undone for the last two bytes, leads from every file to one state."""
        before = {
            state_before(file, step, checksum, len(file) - UNDONE)
            for file, checksum in zip(self.files, self.sums, strict=True)
        }
        return len(before) == 1


@cache
def plain_structures() -> tuple[Step, ...]:
    """Return the steps whose index is neither shifted, cut nor multiplied: those that are tried further."""
    return tuple(step for step in structures() if not any("1" in mix.term or "&" in mix.term for mix in _mixes(step)))


def fitting_steps(ending: Ending, factor: int, steps: Sequence[Step]) -> Iterator[Step]:
    """Yield each of some steps, with one distance, that leads from files that differ near their end to one state."""
    choices = distances()
    tails = [_Tail(file, checksum) for file, checksum in zip(ending.files[:2], ending.sums[:2], strict=True)]
    turns = [tail.distances(choices) for tail in tails]
    for structure in steps:
        step = with_factor(structure, factor)
        count = step.count(_R)
        one, other = (
            tail.undone(step, [(turn,) * count for turn in each]) for tail, each in zip(tails, turns, strict=True)
        )
        for place in np.flatnonzero(one == other):
            fitting = with_distances(step, (choices[place],) * count)
            if ending.agrees(fitting):
                yield fitting


def fitting_steps_of_two_distances(ending: Ending, factor: int) -> Iterator[Step]:
    """Yield each fitting step with two rotations by different constants."""
    constants = np.arange(1, 64, dtype=np.uint64)
    first, second = np.repeat(constants, constants.size), np.tile(constants, constants.size)
    tails = [_Tail(file, checksum) for file, checksum in zip(ending.files[:2], ending.sums[:2], strict=True)]
    for structure in plain_structures():
        if structure.count(_R) != 2:
            continue
        step = with_factor(structure, factor)
        one, other = (tail.undone(step, [(first, second)] * UNDONE) for tail in tails)
        for place in np.flatnonzero(one == other):
            fitting = with_distances(step, (Rotate(int(first[place])), Rotate(int(second[place]))))
            if ending.agrees(fitting):
                yield fitting


class _Tail:
    """The last bytes of a file, the last first, and the sum of it."""

    def __init__(self, file: bytes, checksum: int) -> None:
        octets, end = np.frombuffer(file, np.uint8), len(file)
        self._places = [counted_bytes(octets, place, place + 1) for place in range(end - 1, end - 1 - UNDONE, -1)]
        self._checksum = checksum

    def distances(self, choices: Sequence[Operation]) -> list[States]:
        """Return, for each byte, how far each rotation turns: uint64 [choices]."""
        return [np.concatenate([operand_values(choice, *place) for choice in choices]) for place in self._places]

    def undone(self, step: Step, turns: Sequence[Sequence[States]]) -> States:
        """Return the states before these bytes; `turns` are, for each byte, those of the rotations in order."""
        states = np.full(max((turn.size for turn in turns[0]), default=1), self._checksum, np.uint64)
        inverses = inverse(np.array([factor_of(step)], np.uint64))
        for place, distances_here in zip(self._places, turns, strict=True):
            rest = list(distances_here)
            for operation in reversed(step):
                value = rest.pop() if operation == _R else operand_values(operation, *place)
                states = _undone(operation, states, value, inverses)
        return states


def with_factor(step: Step, factor: int) -> Step:
    """Return the step with another multiplier."""
    return tuple(Multiply(factor) if isinstance(operation, Multiply) else operation for operation in step)


def with_distances(step: Step, distances: Sequence[Operation]) -> Step:
    """Return the step with rotations in the place of its bare ones."""
    rest = iter(distances)
    return tuple(next(rest) if operation == _R else operation for operation in step)


def state_before(file: bytes, step: Step, checksum: int, place: int) -> int:
    """Return the state before the byte at a place of a file with this sum; the start by default."""
    byte, index = counted_bytes(np.frombuffer(file, np.uint8), place, len(file))
    back = pow(factor_of(step), -1, 2**64)
    columns = [operand_values(operation, byte, index)[::-1].tolist() for operation in reversed(step)]
    kinds = [type(operation) if not isinstance(operation, Mix) else operation.how for operation in reversed(step)]
    state = checksum
    for values in zip(*columns, strict=True):
        for kind, value in zip(kinds, values, strict=True):
            if kind == "xor":
                state ^= value
            elif kind == "add":
                state = state - value & _MASK
            elif kind is Multiply:
                state = state * back & _MASK
            else:
                state = (state >> value | state << (64 - value)) & _MASK
    return state


def states_before(file: bytes, step: Step, checksum: int, place: int, factors: States) -> States:
    """Return the state before the byte at a place of a file with this sum, one for each multiplier: uint64 [n]."""
    byte, index = counted_bytes(np.frombuffer(file, np.uint8), place, len(file))
    inverses = inverse(factors)
    states = np.full(inverses.size, checksum, np.uint64)
    columns = [operand_values(operation, byte, index) for operation in step]
    for row in range(byte.size - 1, -1, -1):
        for operation, column in zip(reversed(step), reversed(columns), strict=True):
            states = _undone(operation, states, column[row], inverses)
    return states


def factor_of(step: Step) -> int:
    """Return the multiplier of a step, 1 if it has none."""
    return next((operation.factor for operation in step if isinstance(operation, Multiply)), 1)


def inverse(factors: States) -> States:
    """Return the inverses of odd numbers modulo 2^64: each round of Newton's doubles the bits that are right."""
    result = factors.copy()  # three bits are right
    for _ in range(5):
        result = result * (np.uint64(2) - factors * result)
    return result


def rotated_right(states: States, count: States | np.uint64) -> States:
    """Return 64-bit rotations to the right by 0 .. 63."""
    back = (np.uint64(64) - count) & np.uint64(63)
    return (states >> count) | (states << back)


def _undone(operation: Operation, states: States, value: States | np.uint64, inverses: States) -> States:
    match operation:
        case Mix("xor"):
            return states ^ value
        case Mix("add"):
            return states - value
        case Multiply():
            return states * inverses
        case _:
            return rotated_right(states, value)
