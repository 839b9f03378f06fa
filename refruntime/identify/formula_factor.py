"""Work out the multiplier of a checksum step when it is none of the known ones.

Two files whose byte differs in bit k alone reach the multiplication with states that differ by 2^(k + turned), where
`turned` is how far the state was rotated since the byte was mixed in. Behind it they differ by plus or minus P times
that. P is odd, so the difference has exactly k + turned zeros at its low end: this tests the step, and what is above
them is P without its highest bits. Those that are missing are tried, all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from refruntime.containers.checksum_operands import counted_bytes, operand_values
from refruntime.contract.checksum_order import Mix, Multiply, Operation, Rotate
from refruntime.identify.formula_family import (
    Ending,
    States,
    Step,
    states_before,
    structures,
    with_distances,
    with_factor,
)

MOST_MISSING_BITS: Final = 16
DIFFERENT: Final = 6
"""Bytes at the end of the two files that tell multipliers apart."""

_R, _M = Rotate(), Multiply()
_MASK: Final = 2**64 - 1


def steps_of_unknown_factor(last: Ending, before_last: Ending, others: Ending) -> Iterator[Step]:
    """Yield steps with one multiplication, by an odd number that these files name.

    `last` and `before_last` differ in the last byte and in the one before it: by nothing, by each single bit, and more.
    `others` are two files that differ in their last bytes: from their sums a step leads back to one state before these.
    """
    views = {ending: _Behind(ending) for ending in (last, before_last)}
    for structure in structures():
        if structure.count(_M) != 1:
            continue
        byte_place = next(
            place for place, item in enumerate(structure) if isinstance(item, Mix) and "byte" in item.term
        )
        multiplication = structure.index(_M)
        follows = multiplication > byte_place
        view = views[last if follows else before_last]
        for distance in range(1, 64) if _R in structure else (0,):
            step = with_distances(structure, (Rotate(distance),) * structure.count(_R))
            front, back = step[:multiplication], step[byte_place + 1 :]
            passed = step[byte_place + 1 : multiplication] if follows else (*back, *front)
            turned = sum(item.distance or 0 for item in passed if isinstance(item, Rotate))
            for factors in view.factors(step[multiplication + 1 :], turned):
                starts = [
                    states_before(file, step, checksum, len(file) - DIFFERENT, factors)
                    for file, checksum in zip(others.files, others.sums, strict=True)
                ]
                for place in np.flatnonzero(starts[0] == starts[1]):
                    yield with_factor(step, int(factors[place]))


class _Behind:
    """The states of some files behind the last multiplication, for any operations that may follow it."""

    def __init__(self, ending: Ending) -> None:
        self._ending = ending
        self._known: dict[tuple[Step, int], int] = {}
        self._octets = [counted_bytes(np.frombuffer(file, np.uint8), len(file) - 1, len(file)) for file in ending.files]

    def factors(self, rest: Step, turned: int) -> Iterator[States]:
        """Yield the multipliers that these files admit, when `rest` follows the multiplication: uint64 [n]."""
        odd: dict[int, int] = {}
        for bit in range(8):
            zeros = (turned + bit) % 64
            difference = (self._state(rest, bit + 1) - self._state(rest, 0)) & _MASK
            if difference == 0 or (difference & -difference).bit_length() - 1 != zeros:
                return
            odd[zeros] = difference >> zeros
        # The carry of an addition may have flipped more bits than one; from bit 7 it meets no bit of a small index.
        for missing in sorted({min(odd), (turned + 7) % 64}):
            if missing <= MOST_MISSING_BITS:
                high = np.arange(2**missing, dtype=np.uint64) << np.uint64((64 - missing) % 64)
                for part in (odd[missing], -odd[missing] % 2 ** (64 - missing)):
                    yield high + np.uint64(part)

    def _state(self, rest: Step, file: int) -> int:
        """Undo what follows the multiplication in the last step."""
        if (rest, file) not in self._known:
            state = self._ending.sums[file]
            for operation in reversed(rest):
                state = _undone(operation, state, int(operand_values(operation, *self._octets[file])[0]))
            self._known[rest, file] = state
        return self._known[rest, file]


def _undone(operation: Operation, state: int, value: int) -> int:
    match operation:
        case Mix("xor"):
            return state ^ value
        case Mix("add"):
            return (state - value) & _MASK
        case _:
            return (state >> value | state << (64 - value)) & _MASK
