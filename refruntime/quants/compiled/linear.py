"""Compiled loops for the types with evenly spaced values; `legacy`, `k_quants` and `low_bit` describe the layouts."""

from __future__ import annotations

import numpy as np

from refruntime.quants.compiled.loops import inlined, kernel, u16, u32

# Blocks of 32 and evenly spaced values -------------------------------------------------------------------------------


@kernel
def q4_0(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode d * (q - 8)."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 0)]
        for i in range(16):
            out[i] = np.float32(np.int32(block[2 + i] & 15) - 8) * d
        for i in range(16):
            out[16 + i] = np.float32(np.int32(block[2 + i] >> 4) - 8) * d


@kernel
def q4_1(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode d * q + m."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d, m = halves[u16(block, 0)], halves[u16(block, 2)]
        for i in range(16):
            out[i] = np.float32(np.int32(block[4 + i] & 15)) * d + m
        for i in range(16):
            out[16 + i] = np.float32(np.int32(block[4 + i] >> 4)) * d + m


@kernel
def q5_0(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode d * (q - 16)."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 0)]
        fifth = np.int32(u32(block, 2))
        for i in range(16):
            out[i] = np.float32((np.int32(block[6 + i] & 15) | (fifth >> np.int32(i) & 1) << 4) - 16) * d
        for i in range(16):
            out[16 + i] = np.float32((np.int32(block[6 + i] >> 4) | (fifth >> np.int32(16 + i) & 1) << 4) - 16) * d


@kernel
def q5_1(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode d * q + m."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d, m = halves[u16(block, 0)], halves[u16(block, 2)]
        fifth = np.int32(u32(block, 4))
        for i in range(16):
            out[i] = np.float32(np.int32(block[8 + i] & 15) | (fifth >> np.int32(i) & 1) << 4) * d + m
        for i in range(16):
            out[16 + i] = np.float32(np.int32(block[8 + i] >> 4) | (fifth >> np.int32(16 + i) & 1) << 4) * d + m


@kernel
def q8_0(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode d * q."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 0)]
        for i in range(32):
            out[i] = np.float32(np.int8(block[2 + i])) * d


# K types: runs of 32 values, which the compiler turns into vectors, also where two groups of 16 share a run -----


@kernel
def q2_k(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode (d * scale) * q - (dmin * minimum)."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d, dmin = halves[u16(block, 80)], halves[u16(block, 82)]
        for run in range(8):
            first, second = block[run * 2], block[run * 2 + 1]
            factor, other_factor = d * np.float32(first & 15), d * np.float32(second & 15)
            offset, other_offset = dmin * np.float32(first >> 4), dmin * np.float32(second >> 4)
            at, shift = 16 + (run >> 2) * 32, (run & 3) * 2
            for i in range(32):
                product = (factor if i < 16 else other_factor) * np.float32(
                    np.int32(block[at + i]) >> np.int32(shift) & 3
                )
                out[run * 32 + i] = product - (offset if i < 16 else other_offset)


@inlined
def _q3_k_factor(block, group, d):  # type: ignore[no-untyped-def]
    """Return d * (scale - 32) of a group."""
    low = np.int32(block[96 + (group & 7)]) >> np.int32(4 * (group >> 3)) & 15
    scale = low | (np.int32(block[104 + (group & 3)]) >> np.int32(2 * (group >> 2)) & 3) << 4
    return d * np.float32(scale - 32)


@kernel
def q3_k(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode (d * (scale - 32)) * (q - 4)."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 108)]
        for run in range(8):
            factor, other_factor = _q3_k_factor(block, run * 2, d), _q3_k_factor(block, run * 2 + 1, d)
            at, shift = 32 + (run >> 2) * 32, (run & 3) * 2
            for i in range(32):
                high = (np.int32(block[i]) >> np.int32(run) & 1) << 2
                quant = (np.int32(block[at + i]) >> np.int32(shift) & 3) | high
                out[run * 32 + i] = (factor if i < 16 else other_factor) * np.float32(quant - 4)


@inlined
def _scale_and_minimum(block, group):  # type: ignore[no-untyped-def]
    """Return the 6-bit scale and minimum of a group from the 12 bytes at 4."""
    if group < 4:
        return block[4 + group] & 63, block[8 + group] & 63
    scale = block[8 + group] & 15 | block[group] >> 6 << 4
    return scale, block[8 + group] >> 4 | block[4 + group] >> 6 << 4


@kernel
def q4_k(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode (d * scale) * q - (dmin * minimum)."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d, dmin = halves[u16(block, 0)], halves[u16(block, 2)]
        for group in range(8):
            scale, minimum = _scale_and_minimum(block, group)
            factor, offset = d * np.float32(scale), dmin * np.float32(minimum)
            at, shift = 16 + (group >> 1) * 32, (group & 1) * 4
            for i in range(32):
                out[group * 32 + i] = factor * np.float32(np.int32(block[at + i]) >> np.int32(shift) & 15) - offset


@kernel
def q5_k(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode (d * scale) * q - (dmin * minimum)."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d, dmin = halves[u16(block, 0)], halves[u16(block, 2)]
        for group in range(8):
            scale, minimum = _scale_and_minimum(block, group)
            factor, offset = d * np.float32(scale), dmin * np.float32(minimum)
            at, shift = 48 + (group >> 1) * 32, (group & 1) * 4
            for i in range(32):
                fifth = (np.int32(block[16 + i]) >> np.int32(group) & 1) << 4
                quant = (np.int32(block[at + i]) >> np.int32(shift) & 15) | fifth
                out[group * 32 + i] = factor * np.float32(quant) - offset


@kernel
def q6_k(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode (d * scale) * (q - 32)."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 208)]
        for half in range(2):
            for run in range(4):
                scales = 192 + half * 8 + run * 2
                factor = d * np.float32(np.int8(block[scales]))
                other_factor = d * np.float32(np.int8(block[scales + 1]))
                low, high = half * 64 + (run & 1) * 32, 128 + half * 32
                for i in range(32):
                    quant = np.int32(block[low + i]) >> np.int32((run >> 1) * 4) & 15
                    quant |= (np.int32(block[high + i]) >> np.int32(run * 2) & 3) << 4
                    first = half * 128 + run * 32
                    out[first + i] = (factor if i < 16 else other_factor) * np.float32(quant - 32)


# At most two bits a value --------------------------------------------------------------------------------------------


@kernel
def q1_0(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode d or -d."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 0)]
        for byte in range(16):
            for i in range(8):
                out[byte * 8 + i] = np.float32((np.int32(block[2 + byte]) >> np.int32(i) & 1) * 2 - 1) * d


@kernel
def q2_0(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode d * (q - 1)."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 0)]
        for byte in range(16):
            for i in range(4):
                out[byte * 4 + i] = np.float32((np.int32(block[2 + byte]) >> np.int32(2 * i) & 3) - 1) * d


@inlined
def _digits(out, block, at, width, digits, d):  # type: ignore[no-untyped-def]
    """Decode runs of ternary digits from `width` bytes."""
    power = np.int32(1)
    for digit in range(digits):
        for i in range(width):
            out[digit * width + i] = np.float32(((np.int32(block[at + i]) * power & 255) * 3 >> 8) - 1) * d
        power = np.int32(power * 3)


@kernel
def tq1_0(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode d * (digit - 1)."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 52)]
        _digits(out, block, 0, 32, 5, d)
        _digits(out[160:], block, 32, 16, 5, d)
        _digits(out[240:], block, 48, 4, 4, d)


@kernel
def tq2_0(blocks, values, halves):  # type: ignore[no-untyped-def]
    """Decode d * (q - 1)."""
    for b in range(blocks.shape[0]):
        block, out = blocks[b], values[b]
        d = halves[u16(block, 64)]
        for run in range(8):
            at, shift = (run >> 2) * 32, (run & 3) * 2
            for i in range(32):
                out[run * 32 + i] = np.float32((np.int32(block[at + i]) >> np.int32(shift) & 3) - 1) * d
