"""Run the generators of PR-1 backwards: which seed makes a chosen output the first one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MASK: Final = 2**64 - 1
STAR: Final = 0x2545F4914F6CDD1D
INVERSE_STAR: Final = pow(STAR, -1, 2**64)


def seeds_for(output: int) -> tuple[int, ...]:
    """Return for each generator of PR-1 the seed whose first output is `output` (1 .. 2^64-1)."""
    return (
        _undo(output, (_left(13), _right(7), _left(17))),
        _undo(output, (_left(7), _right(9), _left(8))),
        _undo(output * INVERSE_STAR & MASK, (_right(12), _left(25), _right(27))),
    )


Shift = Callable[[int], int]


def _left(bits: int) -> Shift:
    return lambda x: x << bits & MASK


def _right(bits: int) -> Shift:
    return lambda x: x >> bits


def _undo(state: int, shifts: tuple[Shift, Shift, Shift]) -> int:
    """Undo `x ^= shift(x)` of each shift, the last first: repeating the shifted part until all 64 bits are right."""
    for shift in reversed(shifts):
        x = state
        for _ in range(64):
            x = state ^ shift(x)
        state = x
    return state
