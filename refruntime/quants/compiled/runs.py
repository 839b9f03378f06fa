"""The types that compiled loops read 32 values at a time; `legacy`, `k_quants` and `non_linear` describe the layouts.

A type has two functions. `<type>_scales(raw, at, table)` reads what a block of the flat bytes `raw` has once;
`<type>(raw, at, index, scales)` returns its values 32 * index and following, as 32 lanes, with the operations of the
NumPy decoders and so with the same bits. Whole numbers stay bytes as long as they are whole, which is exact.
"""

from __future__ import annotations

from typing import Final

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
    pair,
    signed,
    splat,
    subtract,
    unsigned,
    widened,
    word_at,
)
from refruntime.quants.compiled.loops import inlined
from refruntime.quants.non_linear import FP4_VALUES, IQ4_VALUES

_iq4 = look_up(IQ4_VALUES.tolist())
_fp4 = look_up(FP4_VALUES.tolist())


@inlined
def half_at(raw, at):  # type: ignore[no-untyped-def]
    """Return the half-precision number at a place."""
    return widened(word_at(raw, at))


@inlined
def _scale(raw, at, table):  # type: ignore[no-untyped-def]
    """Return d, at the begin of a block."""
    return half_at(raw, at)


@inlined
def _scale_and_shift(raw, at, table):  # type: ignore[no-untyped-def]
    """Return two half-precision numbers at the begin of a block."""
    return half_at(raw, at), half_at(raw, at + 2)


# Blocks of 32 --------------------------------------------------------------------------------------------------------


@inlined
def q4_0(raw, at, index, d):  # type: ignore[no-untyped-def]
    """Return d * (q - 8)."""
    return multiply(signed(less(nibbles(load_half_of_bytes(raw, at + 2)), 8)), splat(d))


@inlined
def q4_1(raw, at, index, scales):  # type: ignore[no-untyped-def]
    """Return d * q + m."""
    d, m = scales
    return add(multiply(unsigned(nibbles(load_half_of_bytes(raw, at + 4))), splat(d)), splat(m))


@inlined
def _five_bits(raw, at):  # type: ignore[no-untyped-def]
    """Return 32 numbers whose fifth bits are the word at a place, followed by their nibbles."""
    return above(nibbles(load_half_of_bytes(raw, at + 4)), bits_of(long_word_at(raw, at)), 4)


@inlined
def q5_0(raw, at, index, d):  # type: ignore[no-untyped-def]
    """Return d * (q - 16)."""
    return multiply(signed(less(_five_bits(raw, at + 2), 16)), splat(d))


@inlined
def q5_1(raw, at, index, scales):  # type: ignore[no-untyped-def]
    """Return d * q + m."""
    d, m = scales
    return add(multiply(unsigned(_five_bits(raw, at + 4)), splat(d)), splat(m))


@inlined
def q8_0(raw, at, index, d):  # type: ignore[no-untyped-def]
    """Return d * q."""
    return multiply(signed(load_bytes(raw, at + 2)), splat(d))


@inlined
def iq4_nl(raw, at, index, d):  # type: ignore[no-untyped-def]
    """Return d * table[q]."""
    return multiply(signed(_iq4(nibbles(load_half_of_bytes(raw, at + 2)))), splat(d))


@inlined
def mxfp4_scales(raw, at, table):  # type: ignore[no-untyped-def]
    """Return half the power of two that the exponent means."""
    return table[byte_at(raw, at)]


@inlined
def mxfp4(raw, at, index, scale):  # type: ignore[no-untyped-def]
    """Return scale * table[q]."""
    return multiply(signed(_fp4(nibbles(load_half_of_bytes(raw, at + 1)))), splat(scale))


# K types -------------------------------------------------------------------------------------------------------------


@inlined
def q2_k_scales(raw, at, table):  # type: ignore[no-untyped-def]
    """Return d and dmin."""
    return half_at(raw, at + 80), half_at(raw, at + 82)


@inlined
def q2_k(raw, at, index, scales):  # type: ignore[no-untyped-def]
    """Return (d * scale) * q - (dmin * minimum), a scale and a minimum for 16 values."""
    d, dmin = scales
    first, second = byte_at(raw, at + index * 2), byte_at(raw, at + index * 2 + 1)
    quants = unsigned(field(load_bytes(raw, at + 16 + (index >> 2) * 32), (index & 3) * 2, 3))
    factors = pair(d * np.float32(first & 15), d * np.float32(second & 15))
    return subtract(multiply(factors, quants), pair(dmin * np.float32(first >> 4), dmin * np.float32(second >> 4)))


@inlined
def q3_k_scales(raw, at, table):  # type: ignore[no-untyped-def]
    """Return d."""
    return half_at(raw, at + 108)


@inlined
def _q3_k_factor(raw, at, group, d):  # type: ignore[no-untyped-def]
    """Return d * (scale - 32) of a group."""
    low = byte_at(raw, at + 96 + (group & 7)) >> 4 * (group >> 3) & 15
    scale = low | (byte_at(raw, at + 104 + (group & 3)) >> 2 * (group >> 2) & 3) << 4
    return d * np.float32(scale - 32)


@inlined
def q3_k(raw, at, index, d):  # type: ignore[no-untyped-def]
    """Return (d * (scale - 32)) * (q - 4), a scale for 16 values."""
    low = field(load_bytes(raw, at + 32 + (index >> 2) * 32), (index & 3) * 2, 3)
    quants = less(above(low, field(load_bytes(raw, at), index, 1), 2), 4)
    return multiply(pair(_q3_k_factor(raw, at, index * 2, d), _q3_k_factor(raw, at, index * 2 + 1, d)), signed(quants))


@inlined
def _scale_and_minimum(raw, at, group):  # type: ignore[no-untyped-def]
    """Return the 6-bit scale and minimum of a group from the 12 bytes behind d and dmin."""
    if group < 4:
        return byte_at(raw, at + 4 + group) & 63, byte_at(raw, at + 8 + group) & 63
    last, first, second = byte_at(raw, at + 8 + group), byte_at(raw, at + group), byte_at(raw, at + 4 + group)
    return last & 15 | first >> 6 << 4, last >> 4 | second >> 6 << 4


@inlined
def q4_k(raw, at, index, scales):  # type: ignore[no-untyped-def]
    """Return (d * scale) * q - (dmin * minimum)."""
    d, dmin = scales
    scale, minimum = _scale_and_minimum(raw, at, index)
    quants = unsigned(field(load_bytes(raw, at + 16 + (index >> 1) * 32), (index & 1) * 4, 15))
    return subtract(multiply(splat(d * np.float32(scale)), quants), splat(dmin * np.float32(minimum)))


@inlined
def q5_k(raw, at, index, scales):  # type: ignore[no-untyped-def]
    """Return (d * scale) * q - (dmin * minimum)."""
    d, dmin = scales
    scale, minimum = _scale_and_minimum(raw, at, index)
    low = field(load_bytes(raw, at + 48 + (index >> 1) * 32), (index & 1) * 4, 15)
    quants = unsigned(above(low, field(load_bytes(raw, at + 16), index, 1), 4))
    return subtract(multiply(splat(d * np.float32(scale)), quants), splat(dmin * np.float32(minimum)))


@inlined
def q6_k_scales(raw, at, table):  # type: ignore[no-untyped-def]
    """Return d."""
    return half_at(raw, at + 208)


@inlined
def q6_k(raw, at, index, d):  # type: ignore[no-untyped-def]
    """Return (d * scale) * (q - 32), a scale for 16 values."""
    part, run = index >> 2, index & 3
    low = field(load_bytes(raw, at + part * 64 + (run & 1) * 32), (run >> 1) * 4, 15)
    quants = less(above(low, field(load_bytes(raw, at + 128 + part * 32), run * 2, 3), 4), 32)
    scales = at + 192 + index * 2
    first, second = np.int8(byte_at(raw, scales)), np.int8(byte_at(raw, scales + 1))
    factors = pair(d * np.float32(first), d * np.float32(second))
    return multiply(factors, signed(quants))


@inlined
def iq4_xs(raw, at, index, d):  # type: ignore[no-untyped-def]
    """Return (d * (scale - 32)) * table[q]."""
    low = byte_at(raw, at + 4 + (index >> 1)) >> 4 * (index & 1) & 15
    scale = low | (word_at(raw, at + 2) >> 2 * index & 3) << 4
    quants = signed(_iq4(nibbles(load_half_of_bytes(raw, at + 8 + index * 16))))
    return multiply(quants, splat(d * np.float32(scale - 32)))


READERS: Final = {
    "q4_0": (_scale, q4_0),
    "q4_1": (_scale_and_shift, q4_1),
    "q5_0": (_scale, q5_0),
    "q5_1": (_scale_and_shift, q5_1),
    "q8_0": (_scale, q8_0),
    "q2_k": (q2_k_scales, q2_k),
    "q3_k": (q3_k_scales, q3_k),
    "q4_k": (_scale_and_shift, q4_k),
    "q5_k": (_scale_and_shift, q5_k),
    "q6_k": (q6_k_scales, q6_k),
    "iq4_nl": (_scale, iq4_nl),
    "iq4_xs": (_scale, iq4_xs),
    "mxfp4": (mxfp4_scales, mxfp4),
}
"""The two functions of each type."""
