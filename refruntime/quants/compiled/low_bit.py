"""Compiled loops for the types of at most two bits a value with one scale a block; `low_bit` describes the layouts."""

from __future__ import annotations

import numpy as np

from refruntime.quants.compiled.loops import inlined, kernel, u16


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
