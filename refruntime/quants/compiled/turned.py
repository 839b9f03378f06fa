"""Rows side by side: how 32 rows of a type are read at once, straight from the file, for sums over columns.

Of types of blocks of 32 that have their scale, a half-precision number, at the begin; what quants mean and how they
make values is what `runs` says. And of numbers in two bytes, which are values as they are.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from refruntime.quants.compiled.lane_memory import TILE, halves_at, load_bytes, store_bytes, transpose_bytes
from refruntime.quants.compiled.lanes import LANES, field, less, less_unless, splat
from refruntime.quants.compiled.loops import inlined
from refruntime.quants.compiled.widened import bfloats_of, halves_of

ZERO: Final = np.float32(0)


@inlined
def _turn_nibbles(turned, raw, at, stride):  # type: ignore[no-untyped-def]
    """Write 16 columns of 32 rows that lie `stride` bytes apart: pairs of nibbles, the high ones 16 columns behind."""
    transpose_bytes(turned, 0, raw, at, stride)


@inlined
def _turn_bytes(turned, raw, at, stride):  # type: ignore[no-untyped-def]
    """Write 32 columns of 32 rows of bytes that lie `stride` apart."""
    transpose_bytes(turned, 0, raw, at, stride)
    transpose_bytes(turned, TILE * LANES, raw, at + TILE, stride)


@inlined
def _low_nibbles(turned, column):  # type: ignore[no-untyped-def]
    return field(load_bytes(turned, column * LANES), 0, 15)


@inlined
def _high_nibbles(turned, column):  # type: ignore[no-untyped-def]
    return field(load_bytes(turned, column * LANES), 4, 15)


@inlined
def _low_less_8(turned, column):  # type: ignore[no-untyped-def]
    return less(field(load_bytes(turned, column * LANES), 0, 15), 8)


@inlined
def _high_less_8(turned, column):  # type: ignore[no-untyped-def]
    return less(field(load_bytes(turned, column * LANES), 4, 15), 8)


@inlined
def _turn_fifths(turned, raw, at, stride):  # type: ignore[no-untyped-def]
    """Write 16 columns of pairs of nibbles, and behind them the four bytes of fifth bits in which the rows begin."""
    transpose_bytes(turned, 0, raw, at + 4, stride)
    transpose_bytes(turned, TILE * LANES, raw, at, stride)


@inlined
def _fifths_less_16(turned, nibbles, column):  # type: ignore[no-untyped-def]
    """Return nibbles, less 16 where the fifth bit of a column is not set."""
    return less_unless(nibbles, load_bytes(turned, (TILE + (column >> 3)) * LANES), 1 << (column & 7), 16)


@inlined
def _low_fifths_less_16(turned, column):  # type: ignore[no-untyped-def]
    return _fifths_less_16(turned, _low_nibbles(turned, column), column)


@inlined
def _high_fifths_less_16(turned, column):  # type: ignore[no-untyped-def]
    return _fifths_less_16(turned, _high_nibbles(turned, column), column + TILE)


@inlined
def _low_fifths(turned, column):  # type: ignore[no-untyped-def]
    return less(_low_fifths_less_16(turned, column), -16)


@inlined
def _high_fifths(turned, column):  # type: ignore[no-untyped-def]
    return less(_high_fifths_less_16(turned, column), -16)


@inlined
def _first_bytes(turned, column):  # type: ignore[no-untyped-def]
    return load_bytes(turned, column * LANES)


@inlined
def _last_bytes(turned, column):  # type: ignore[no-untyped-def]
    return load_bytes(turned, (column + TILE) * LANES)


@inlined
def _no_lanes(raw, at, stride):  # type: ignore[no-untyped-def]
    return splat(ZERO)


@inlined
def _halves_behind(raw, at, stride):  # type: ignore[no-untyped-def]
    return halves_at(raw, at + 2, stride)


@inlined
def _turn_pairs(turned, raw, at, stride):  # type: ignore[no-untyped-def]
    """Write the low bytes and the high bytes of 32 columns of 32 rows in turns.

    The rows are put together first: where they lie a power of two apart, few of them fit into the cache together.
    """
    together = 2 * LANES * LANES
    for row in range(LANES):
        store_bytes(turned, together + 2 * row * LANES, load_bytes(raw, at + row * stride))
        store_bytes(turned, together + (2 * row + 1) * LANES, load_bytes(raw, at + row * stride + LANES))
    for part in range(4):
        transpose_bytes(turned, part * TILE * LANES, turned, together + part * TILE, 2 * LANES)


@inlined
def _first_halves(turned, column):  # type: ignore[no-untyped-def]
    return halves_of(load_bytes(turned, 2 * column * LANES), load_bytes(turned, (2 * column + 1) * LANES))


@inlined
def _last_halves(turned, column):  # type: ignore[no-untyped-def]
    return _first_halves(turned, column + TILE)


@inlined
def _first_bfloats(turned, column):  # type: ignore[no-untyped-def]
    return bfloats_of(load_bytes(turned, 2 * column * LANES), load_bytes(turned, (2 * column + 1) * LANES))


@inlined
def _last_bfloats(turned, column):  # type: ignore[no-untyped-def]
    return _first_bfloats(turned, column + TILE)


@inlined
def as_it_is(values):  # type: ignore[no-untyped-def]
    """Return what is a value already."""
    return values


@inlined
def not_scaled(values, factors, offsets):  # type: ignore[no-untyped-def]
    """Return values that have no factors and offsets."""
    return values


class TurnedReader(NamedTuple):
    """How 32 rows of a type of blocks of 32 with a scale at their begin are read at once, straight from the file.

    `place` is where the quants begin; `turn` puts them side by side; `low` and `high` return those of a column and of
    the 16th behind it as lanes; `offset_lanes` are what the 32 rows are moved by.
    """

    place: int
    turn: Any
    low: Any
    high: Any
    offset_lanes: Any = _no_lanes


TURNED: Final = {
    "q4_0": TurnedReader(2, _turn_nibbles, _low_less_8, _high_less_8),
    "q4_1": TurnedReader(4, _turn_nibbles, _low_nibbles, _high_nibbles, _halves_behind),
    "q5_0": TurnedReader(2, _turn_fifths, _low_fifths_less_16, _high_fifths_less_16),
    "q5_1": TurnedReader(4, _turn_fifths, _low_fifths, _high_fifths, _halves_behind),
    "q8_0": TurnedReader(2, _turn_bytes, _first_bytes, _last_bytes),
    "iq4_nl": TurnedReader(2, _turn_nibbles, _low_nibbles, _high_nibbles),
    "f16": TurnedReader(0, _turn_pairs, _first_halves, _last_halves),
    "bf16": TurnedReader(0, _turn_pairs, _first_bfloats, _last_bfloats),
}
"""The types that are read this way where there are 32 rows."""
