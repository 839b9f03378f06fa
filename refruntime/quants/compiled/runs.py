"""The types that compiled loops read 32 values at a time; `legacy`, `k_quants` and `non_linear` describe the layouts.

A `BlockReader` takes a block of the flat bytes `raw` apart: `scales` reads what the block has once, with the help of a
table; `quants` returns the whole numbers 32 * index and following as lanes of bytes, which is exact; `factors` and
`offsets` are what the first and the last 16 of them are multiplied with and moved by. `numbers` says what quants
mean, `combine` in which order the three make values: with the operations of the NumPy decoders and so with the
same bits.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from refruntime.quants.compiled import long_runs as long
from refruntime.quants.compiled.lane_memory import (
    byte_at,
    half_at,
    load_bytes,
    load_half_of_bytes,
    long_word_at,
)
from refruntime.quants.compiled.lanes import (
    above,
    add,
    bits_of,
    less,
    look_up,
    multiply,
    nibbles,
    signed,
    subtract,
    unsigned,
)
from refruntime.quants.compiled.loops import inlined
from refruntime.quants.non_linear import FP4_VALUES, IQ4_VALUES

ZERO: Final = np.float32(0)

_iq4 = look_up(IQ4_VALUES.tolist())
_fp4 = look_up(FP4_VALUES.tolist())


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


class BlockReader(NamedTuple):
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
    "q4_0": BlockReader(_scale, _q4_0, _whole),
    "q4_1": BlockReader(_two_scales, _q4_1, _first, _second, _unsigned, _raised),
    "q5_0": BlockReader(_scale, _q5_0, _whole),
    "q5_1": BlockReader(_two_scales, _q5_1, _first, _second, _unsigned, _raised),
    "q8_0": BlockReader(_scale, _q8_0, _whole),
    "q2_k": BlockReader(long.q2_k_scales, long.q2_k, long.q2_k_factors, long.q2_k_offsets, _unsigned, _lowered),
    "q3_k": BlockReader(long.q3_k_scale, long.q3_k, long.q3_k_factors),
    "q4_k": BlockReader(_two_scales, long.q4_k, long.group_factors, long.group_offsets, _unsigned, _lowered),
    "q5_k": BlockReader(_two_scales, long.q5_k, long.group_factors, long.group_offsets, _unsigned, _lowered),
    "q6_k": BlockReader(long.q6_k_scale, long.q6_k, long.q6_k_factors),
    "iq4_nl": BlockReader(_scale, _iq4_nl, _whole, numbers=_iq4_numbers),
    "iq4_xs": BlockReader(_scale, long.iq4_xs, long.iq4_xs_factors, numbers=_iq4_numbers),
    "mxfp4": BlockReader(_mxfp4_scale, _mxfp4, _whole, numbers=_fp4_numbers),
}
"""The types that are read this way."""
