"""What blocks of 256 are made of, as `runs` says of it; `k_quants` and `non_linear` describe the layouts."""

from __future__ import annotations

import numpy as np

from refruntime.quants.compiled.lane_memory import byte_at, half_at, load_bytes, load_half_of_bytes, word_at
from refruntime.quants.compiled.lanes import above, field, less, nibbles
from refruntime.quants.compiled.loops import inlined


@inlined
def q2_k_scales(raw, at, table):  # type: ignore[no-untyped-def]
    """Return d and dmin."""
    return half_at(raw, at + 80), half_at(raw, at + 82)


@inlined
def q2_k(raw, at, index):  # type: ignore[no-untyped-def]
    """Return q."""
    return field(load_bytes(raw, at + 16 + (index >> 2) * 32), (index & 3) * 2, 3)


@inlined
def q2_k_factors(raw, at, index, scales):  # type: ignore[no-untyped-def]
    """Return d times the scales of both halves."""
    first, second = byte_at(raw, at + index * 2), byte_at(raw, at + index * 2 + 1)
    return scales[0] * np.float32(first & 15), scales[0] * np.float32(second & 15)


@inlined
def q2_k_offsets(raw, at, index, scales):  # type: ignore[no-untyped-def]
    """Return dmin times the minima of both halves."""
    first, second = byte_at(raw, at + index * 2), byte_at(raw, at + index * 2 + 1)
    return scales[1] * np.float32(first >> 4), scales[1] * np.float32(second >> 4)


@inlined
def q3_k_scale(raw, at, table):  # type: ignore[no-untyped-def]
    """Return d."""
    return half_at(raw, at + 108)


@inlined
def q3_k(raw, at, index):  # type: ignore[no-untyped-def]
    """Return q - 4."""
    low = field(load_bytes(raw, at + 32 + (index >> 2) * 32), (index & 3) * 2, 3)
    return less(above(low, field(load_bytes(raw, at), index, 1), 2), 4)


@inlined
def q3_k_factor(raw, at, group, d):  # type: ignore[no-untyped-def]
    """Return d * (scale - 32) of a group of 16."""
    low = byte_at(raw, at + 96 + (group & 7)) >> 4 * (group >> 3) & 15
    scale = low | (byte_at(raw, at + 104 + (group & 3)) >> 2 * (group >> 2) & 3) << 4
    return d * np.float32(scale - 32)


@inlined
def q3_k_factors(raw, at, index, d):  # type: ignore[no-untyped-def]
    """Return d times the scales of both halves."""
    return q3_k_factor(raw, at, index * 2, d), q3_k_factor(raw, at, index * 2 + 1, d)


@inlined
def scale_and_minimum(raw, at, group):  # type: ignore[no-untyped-def]
    """Return the 6-bit scale and minimum of a group from the 12 bytes behind d and dmin."""
    if group < 4:
        return byte_at(raw, at + 4 + group) & 63, byte_at(raw, at + 8 + group) & 63
    last, first, second = byte_at(raw, at + 8 + group), byte_at(raw, at + group), byte_at(raw, at + 4 + group)
    return last & 15 | first >> 6 << 4, last >> 4 | second >> 6 << 4


@inlined
def group_factors(raw, at, index, scales):  # type: ignore[no-untyped-def]
    """Return d times the scale of the 32."""
    factor = scales[0] * np.float32(scale_and_minimum(raw, at, index)[0])
    return factor, factor


@inlined
def group_offsets(raw, at, index, scales):  # type: ignore[no-untyped-def]
    """Return dmin times the minimum of the 32."""
    offset = scales[1] * np.float32(scale_and_minimum(raw, at, index)[1])
    return offset, offset


@inlined
def q4_k(raw, at, index):  # type: ignore[no-untyped-def]
    """Return q."""
    return field(load_bytes(raw, at + 16 + (index >> 1) * 32), (index & 1) * 4, 15)


@inlined
def q5_k(raw, at, index):  # type: ignore[no-untyped-def]
    """Return q."""
    low = field(load_bytes(raw, at + 48 + (index >> 1) * 32), (index & 1) * 4, 15)
    return above(low, field(load_bytes(raw, at + 16), index, 1), 4)


@inlined
def q6_k_scale(raw, at, table):  # type: ignore[no-untyped-def]
    """Return d."""
    return half_at(raw, at + 208)


@inlined
def q6_k(raw, at, index):  # type: ignore[no-untyped-def]
    """Return q - 32."""
    part, run = index >> 2, index & 3
    low = field(load_bytes(raw, at + part * 64 + (run & 1) * 32), (run >> 1) * 4, 15)
    return less(above(low, field(load_bytes(raw, at + 128 + part * 32), run * 2, 3), 4), 32)


@inlined
def q6_k_factors(raw, at, index, d):  # type: ignore[no-untyped-def]
    """Return d times the scales of both halves."""
    both = word_at(raw, at + 192 + index * 2)
    return d * np.float32(np.int8(both)), d * np.float32(np.int8(both >> 8))


@inlined
def iq4_xs(raw, at, index):  # type: ignore[no-untyped-def]
    """Return the numbers of entries of the table."""
    return nibbles(load_half_of_bytes(raw, at + 8 + index * 16))


@inlined
def iq4_xs_factors(raw, at, index, d):  # type: ignore[no-untyped-def]
    """Return d * (scale - 32) of the 32."""
    low = byte_at(raw, at + 4 + (index >> 1)) >> 4 * (index & 1) & 15
    factor = d * np.float32((low | (word_at(raw, at + 2) >> 2 * index & 3) << 4) - 32)
    return factor, factor
