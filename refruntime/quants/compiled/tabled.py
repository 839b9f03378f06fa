"""Compiled loops for the types whose values come from tables; `non_linear` and `grids` describe the layouts."""

from __future__ import annotations

from typing import Final

import numpy as np

from refruntime.quants.compiled.loops import inlined, kernel, nibble, u16, u32

ONE_HALF: Final = np.float32(0.5)
ONE_QUARTER: Final = np.float32(0.25)
DELTA: Final = np.float32(0.125)


@inlined
def _look_up(out, low, high, block, at, table, factor):  # type: ignore[no-untyped-def]
    """Decode factor * table[q] for eight bytes: their low nibbles to `low` on, the high ones to `high` on."""
    for i in range(8):
        out[low + i] = table[block[at + i] & 15] * factor
    for i in range(8):
        out[high + i] = table[block[at + i] >> 4] * factor


@kernel
def nvfp4(blocks, values, table, scales):  # type: ignore[no-untyped-def]
    """Decode scales[e] * table[q], a scale for 16 values."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        for group in range(4):
            first = group * 16
            _look_up(out, first, first + 8, block, 4 + group * 8, table, scales[block[group]])


@inlined
def _one_point(out, at, points, point, signs, sign, factor):  # type: ignore[no-untyped-def]
    """Decode (factor * point) * sign for a point of 8."""
    for i in range(8):
        out[at + i] = factor * points[point, i] * signs[sign, i]


@inlined
def _two_points(out, at, points, point, other, signs, sign, factor):  # type: ignore[no-untyped-def]
    """Decode (factor * point) * sign for two points of 4."""
    for i in range(4):
        out[at + i] = factor * points[point, i] * signs[sign, i]
    for i in range(4):
        out[at + 4 + i] = factor * points[other, i] * signs[sign, 4 + i]


@kernel
def iq2_xxs(blocks, values, halves, points, signs):  # type: ignore[no-untyped-def]
    """Decode (d * (0.5 + scale) * 0.25) * point * sign."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 0)]
        for group in range(8):
            word = u32(block, 6 + group * 8)
            factor = d * (ONE_HALF + np.float32(word >> 28)) * ONE_QUARTER
            for i in range(4):
                at, sign = group * 32 + i * 8, word >> 7 * i & 127
                _one_point(out, at, points, block[2 + group * 8 + i], signs, sign, factor)


@kernel
def iq2_xs(blocks, values, halves, points, signs):  # type: ignore[no-untyped-def]
    """Decode (d * (0.5 + scale) * 0.25) * point * sign."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 0)]
        for group in range(16):
            factor = d * (ONE_HALF + np.float32(nibble(block, 66, group))) * ONE_QUARTER
            for i in range(group * 2, group * 2 + 2):
                word = u16(block, 2 + i * 2)
                _one_point(out, i * 8, points, word & 511, signs, word >> 9, factor)


@kernel
def iq2_s(blocks, values, halves, points, signs):  # type: ignore[no-untyped-def]
    """Decode (d * (0.5 + scale) * 0.25) * point * sign."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 0)]
        for group in range(16):
            factor = d * (ONE_HALF + np.float32(nibble(block, 74, group))) * ONE_QUARTER
            for i in range(group * 2, group * 2 + 2):
                upper = np.intp(block[66 + (i >> 2)]) >> 2 * (i & 3) & 3
                _one_point(out, i * 8, points, block[2 + i] | upper << 8, signs, block[34 + i], factor)


@kernel
def iq3_xxs(blocks, values, halves, points, signs):  # type: ignore[no-untyped-def]
    """Decode (d * (0.5 + scale) * 0.5) * point * sign."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 0)]
        for group in range(8):
            word = u32(block, 66 + group * 4)
            factor = d * (ONE_HALF + np.float32(word >> 28)) * ONE_HALF
            for i in range(4):
                first, sign = 2 + group * 8 + i * 2, word >> 7 * i & 127
                _two_points(out, group * 32 + i * 8, points, block[first], block[first + 1], signs, sign, factor)


@kernel
def iq3_s(blocks, values, halves, points, signs):  # type: ignore[no-untyped-def]
    """Decode (d * (1 + 2 * scale)) * point * sign."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 0)]
        for group in range(8):
            factor = d * np.float32(1 + 2 * nibble(block, 106, group))
            upper = np.intp(block[66 + group]) << 8
            for i in range(4):
                first = 2 + group * 8 + i * 2
                point = block[first] | upper >> 2 * i & 256
                other = block[first + 1] | upper >> (2 * i + 1) & 256
                _two_points(out, group * 32 + i * 8, points, point, other, signs, block[74 + group * 4 + i], factor)


@inlined
def _shifted_point(out, at, points, point, shift, factor):  # type: ignore[no-untyped-def]
    """Decode factor * (point + shift) for a point of 8."""
    for i in range(8):
        out[at + i] = factor * (points[point, i] + shift)


@kernel
def iq1_s(blocks, values, halves, points):  # type: ignore[no-untyped-def]
    """Decode (d * (2 * scale + 1)) * (point +- 0.125)."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 0)]
        for group in range(8):
            word = u16(block, 34 + group * 2)
            factor = d * np.float32(2 * (word >> 12 & 7) + 1)
            shift = -DELTA if word >> 15 else DELTA
            for i in range(4):
                point = block[2 + group * 4 + i] | (word >> 3 * i & 7) << 8
                _shifted_point(out, group * 32 + i * 8, points, point, shift, factor)


@kernel
def iq1_m(blocks, values, halves, points):  # type: ignore[no-untyped-def]
    """Decode (d * (2 * scale + 1)) * (point +- 0.125)."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        upper = u16(block, 48) >> 12 | u16(block, 50) >> 12 << 4
        d = halves[upper | u16(block, 52) >> 12 << 8 | u16(block, 54) >> 12 << 12]
        for group in range(16):
            scale = u16(block, 48 + (group >> 2) * 2) >> 3 * (group & 3) & 7
            factor = d * np.float32(2 * scale + 1)
            for i in range(group * 2, group * 2 + 2):
                high = nibble(block, 32, i)
                shift = -DELTA if high >> 3 else DELTA
                _shifted_point(out, i * 8, points, block[i] | (high & 7) << 8, shift, factor)
