"""The types that compiled loops read 32 values at a time; `legacy`, `k_quants` and `non_linear` describe the layouts.

A `Reader` takes a block of the flat bytes `raw` apart: `scales` reads what the block has once, with the help of a
table; `quants` returns the whole numbers 32 * index and following as lanes of bytes, which is exact; `factors` and
`offsets` are what the first and the last 16 of them are multiplied with and moved by. `numbers` says what quants
mean, `combine` in which order the three make values: with the operations of the NumPy decoders and so with the
same bits.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from refruntime.quants.compiled.lanes import (
    above,
    add,
    bits_of,
    byte_at,
    field,
    less,
    load_bytes,
    load_half_of_bytes,
    long_word_at,
    look_up,
    multiply,
    nibbles,
    signed,
    subtract,
    unsigned,
    widened,
    word_at,
)
from refruntime.quants.compiled.loops import inlined
from refruntime.quants.non_linear import FP4_VALUES, IQ4_VALUES

ZERO: Final = np.float32(0)

_iq4 = look_up(IQ4_VALUES.tolist())
_fp4 = look_up(FP4_VALUES.tolist())


@inlined
def half_at(raw, at):  # type: ignore[no-untyped-def]
    """Return the half-precision number at a place."""
    return widened(word_at(raw, at))


# What several types share --------------------------------------------------------------------------------------------


@inlined
def _signed(quants):  # type: ignore[no-untyped-def]
    return signed(quants)


@inlined
def _unsigned(quants):  # type: ignore[no-untyped-def]
    return unsigned(quants)


@inlined
def _iq4_numbers(quants):  # type: ignore[no-untyped-def]
    return signed(_iq4(quants))


@inlined
def _fp4_numbers(quants):  # type: ignore[no-untyped-def]
    return signed(_fp4(quants))


@inlined
def _scaled(numbers, factors, offsets):  # type: ignore[no-untyped-def]
    return multiply(numbers, factors)


@inlined
def _raised(numbers, factors, offsets):  # type: ignore[no-untyped-def]
    return add(multiply(numbers, factors), offsets)


@inlined
def _lowered(numbers, factors, offsets):  # type: ignore[no-untyped-def]
    return subtract(multiply(numbers, factors), offsets)


@inlined
def _no_offsets(raw, at, index, scales):  # type: ignore[no-untyped-def]
    return ZERO, ZERO


@inlined
def _scale(raw, at, table):  # type: ignore[no-untyped-def]
    """Return d, at the begin of a block."""
    return half_at(raw, at)


@inlined
def _two_scales(raw, at, table):  # type: ignore[no-untyped-def]
    """Return two half-precision numbers at the begin of a block."""
    return half_at(raw, at), half_at(raw, at + 2)


@inlined
def _whole(raw, at, index, d):  # type: ignore[no-untyped-def]
    """Multiply all with the scale of the block."""
    return d, d


@inlined
def _first(raw, at, index, scales):  # type: ignore[no-untyped-def]
    return scales[0], scales[0]


@inlined
def _second(raw, at, index, scales):  # type: ignore[no-untyped-def]
    return scales[1], scales[1]


# Blocks of 32 --------------------------------------------------------------------------------------------------------


@inlined
def _q4_0(raw, at, index):  # type: ignore[no-untyped-def]
    return less(nibbles(load_half_of_bytes(raw, at + 2)), 8)


@inlined
def _q4_1(raw, at, index):  # type: ignore[no-untyped-def]
    return nibbles(load_half_of_bytes(raw, at + 4))


@inlined
def _five_bits(raw, at):  # type: ignore[no-untyped-def]
    """Return 32 numbers whose fifth bits are the word at a place, followed by their nibbles."""
    return above(nibbles(load_half_of_bytes(raw, at + 4)), bits_of(long_word_at(raw, at)), 4)


@inlined
def _q5_0(raw, at, index):  # type: ignore[no-untyped-def]
    return less(_five_bits(raw, at + 2), 16)


@inlined
def _q5_1(raw, at, index):  # type: ignore[no-untyped-def]
    return _five_bits(raw, at + 4)


@inlined
def _q8_0(raw, at, index):  # type: ignore[no-untyped-def]
    return load_bytes(raw, at + 2)


@inlined
def _iq4_nl(raw, at, index):  # type: ignore[no-untyped-def]
    return nibbles(load_half_of_bytes(raw, at + 2))


@inlined
def _mxfp4_scale(raw, at, table):  # type: ignore[no-untyped-def]
    """Return half the power of two that the exponent means."""
    return table[byte_at(raw, at)]


@inlined
def _mxfp4(raw, at, index):  # type: ignore[no-untyped-def]
    return nibbles(load_half_of_bytes(raw, at + 1))


# K types -------------------------------------------------------------------------------------------------------------


@inlined
def _q2_k_scales(raw, at, table):  # type: ignore[no-untyped-def]
    return half_at(raw, at + 80), half_at(raw, at + 82)


@inlined
def _q2_k(raw, at, index):  # type: ignore[no-untyped-def]
    return field(load_bytes(raw, at + 16 + (index >> 2) * 32), (index & 3) * 2, 3)


@inlined
def _q2_k_factors(raw, at, index, scales):  # type: ignore[no-untyped-def]
    first, second = byte_at(raw, at + index * 2), byte_at(raw, at + index * 2 + 1)
    return scales[0] * np.float32(first & 15), scales[0] * np.float32(second & 15)


@inlined
def _q2_k_offsets(raw, at, index, scales):  # type: ignore[no-untyped-def]
    first, second = byte_at(raw, at + index * 2), byte_at(raw, at + index * 2 + 1)
    return scales[1] * np.float32(first >> 4), scales[1] * np.float32(second >> 4)


@inlined
def _q3_k_scale(raw, at, table):  # type: ignore[no-untyped-def]
    return half_at(raw, at + 108)


@inlined
def _q3_k(raw, at, index):  # type: ignore[no-untyped-def]
    low = field(load_bytes(raw, at + 32 + (index >> 2) * 32), (index & 3) * 2, 3)
    return less(above(low, field(load_bytes(raw, at), index, 1), 2), 4)


@inlined
def _q3_k_factor(raw, at, group, d):  # type: ignore[no-untyped-def]
    """Return d * (scale - 32) of a group of 16."""
    low = byte_at(raw, at + 96 + (group & 7)) >> 4 * (group >> 3) & 15
    scale = low | (byte_at(raw, at + 104 + (group & 3)) >> 2 * (group >> 2) & 3) << 4
    return d * np.float32(scale - 32)


@inlined
def _q3_k_factors(raw, at, index, d):  # type: ignore[no-untyped-def]
    return _q3_k_factor(raw, at, index * 2, d), _q3_k_factor(raw, at, index * 2 + 1, d)


@inlined
def _scale_and_minimum(raw, at, group):  # type: ignore[no-untyped-def]
    """Return the 6-bit scale and minimum of a group from the 12 bytes behind d and dmin."""
    if group < 4:
        return byte_at(raw, at + 4 + group) & 63, byte_at(raw, at + 8 + group) & 63
    last, first, second = byte_at(raw, at + 8 + group), byte_at(raw, at + group), byte_at(raw, at + 4 + group)
    return last & 15 | first >> 6 << 4, last >> 4 | second >> 6 << 4


@inlined
def _group_factors(raw, at, index, scales):  # type: ignore[no-untyped-def]
    factor = scales[0] * np.float32(_scale_and_minimum(raw, at, index)[0])
    return factor, factor


@inlined
def _group_offsets(raw, at, index, scales):  # type: ignore[no-untyped-def]
    offset = scales[1] * np.float32(_scale_and_minimum(raw, at, index)[1])
    return offset, offset


@inlined
def _q4_k(raw, at, index):  # type: ignore[no-untyped-def]
    return field(load_bytes(raw, at + 16 + (index >> 1) * 32), (index & 1) * 4, 15)


@inlined
def _q5_k(raw, at, index):  # type: ignore[no-untyped-def]
    low = field(load_bytes(raw, at + 48 + (index >> 1) * 32), (index & 1) * 4, 15)
    return above(low, field(load_bytes(raw, at + 16), index, 1), 4)


@inlined
def _q6_k_scale(raw, at, table):  # type: ignore[no-untyped-def]
    return half_at(raw, at + 208)


@inlined
def _q6_k(raw, at, index):  # type: ignore[no-untyped-def]
    part, run = index >> 2, index & 3
    low = field(load_bytes(raw, at + part * 64 + (run & 1) * 32), (run >> 1) * 4, 15)
    return less(above(low, field(load_bytes(raw, at + 128 + part * 32), run * 2, 3), 4), 32)


@inlined
def _q6_k_factors(raw, at, index, d):  # type: ignore[no-untyped-def]
    both = word_at(raw, at + 192 + index * 2)
    return d * np.float32(np.int8(both)), d * np.float32(np.int8(both >> 8))


@inlined
def _iq4_xs(raw, at, index):  # type: ignore[no-untyped-def]
    return nibbles(load_half_of_bytes(raw, at + 8 + index * 16))


@inlined
def _iq4_xs_factors(raw, at, index, d):  # type: ignore[no-untyped-def]
    low = byte_at(raw, at + 4 + (index >> 1)) >> 4 * (index & 1) & 15
    factor = d * np.float32((low | (word_at(raw, at + 2) >> 2 * index & 3) << 4) - 32)
    return factor, factor


class Reader(NamedTuple):
    """What a type's blocks are made of, as compiled functions."""

    scales: Any
    quants: Any
    factors: Any
    offsets: Any = _no_offsets
    numbers: Any = _signed
    combine: Any = _scaled

    @property
    def moved(self) -> bool:
        """Say whether there are offsets."""
        return self.offsets is not _no_offsets


READERS: Final = {
    "q4_0": Reader(_scale, _q4_0, _whole),
    "q4_1": Reader(_two_scales, _q4_1, _first, _second, _unsigned, _raised),
    "q5_0": Reader(_scale, _q5_0, _whole),
    "q5_1": Reader(_two_scales, _q5_1, _first, _second, _unsigned, _raised),
    "q8_0": Reader(_scale, _q8_0, _whole),
    "q2_k": Reader(_q2_k_scales, _q2_k, _q2_k_factors, _q2_k_offsets, _unsigned, _lowered),
    "q3_k": Reader(_q3_k_scale, _q3_k, _q3_k_factors),
    "q4_k": Reader(_two_scales, _q4_k, _group_factors, _group_offsets, _unsigned, _lowered),
    "q5_k": Reader(_two_scales, _q5_k, _group_factors, _group_offsets, _unsigned, _lowered),
    "q6_k": Reader(_q6_k_scale, _q6_k, _q6_k_factors),
    "iq4_nl": Reader(_scale, _iq4_nl, _whole, numbers=_iq4_numbers),
    "iq4_xs": Reader(_scale, _iq4_xs, _iq4_xs_factors, numbers=_iq4_numbers),
    "mxfp4": Reader(_mxfp4_scale, _mxfp4, _whole, numbers=_fp4_numbers),
}
"""The types that are read this way."""
