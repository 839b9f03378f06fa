"""Decode the types of at most two bits a value with one scale a block: q1_0, q2_0, tq1_0, tq2_0.

Source: ggml's `ggml-common.h` and `ggml-quants.c`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.quants.fields import BYTES, SIGNS, half, unpack

PAIRS_OF_BYTE: Final = (BYTES >> np.array([0, 2, 4, 6], np.uint8) & np.uint8(3)).astype(np.float32) - np.float32(1)
"""The four pairs of bits of a byte, lowest first, less 1: float32 [256, 4]."""
POWERS_OF_3: Final = np.array([1, 3, 9, 27, 81], np.uint8).reshape(5, 1)


def decode_q1_0(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 128 bits in turn: d for a set bit, else -d. [blocks, 18] -> [blocks, 128]."""
    SIGNS.take(blocks[:, 2:], axis=0, out=values.reshape(-1, 16, 8), mode="clip")
    values *= -half(blocks, 0)


def decode_q2_0(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 64 pairs of bits in turn: d * (q - 1). [blocks, 18] -> [blocks, 64]."""
    PAIRS_OF_BYTE.take(blocks[:, 2:], axis=0, out=values.reshape(-1, 16, 4), mode="clip")
    values *= half(blocks, 0)


def decode_tq1_0(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode 48 bytes of five ternary digits, 4 bytes of four, d f16: d * (digit - 1). [blocks, 54] -> [blocks, 256].

    A byte holds its digits as a fraction of 256: times 3**i modulo 256, then times 3, the carry is digit i. The first
    32 bytes give five runs of 32 values, the next 16 five runs of 16, the last 4 four runs of 4.
    """
    at = 0
    for start, width, digits in ((0, 32, 5), (32, 16, 5), (48, 4, 4)):
        fractions = blocks[:, np.newaxis, start : start + width] * POWERS_OF_3[:digits]  # [blocks, digits, width]
        run = values[:, at : at + digits * width].reshape(-1, digits, width)
        # The carry of times 3 is the number of thirds of 256 that the fraction has reached: 86 and 171.
        run[:] = (fractions >= np.uint8(86)).view(np.uint8) + (fractions >= np.uint8(171)).view(np.uint8)
        at += digits * width
    values -= np.float32(1)
    values *= half(blocks, 52)


def decode_tq2_0(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode 64 bytes of bit pairs, d f16: d * (q - 1). [blocks, 66] -> [blocks, 256].

    Each 32 bytes hold four runs of 32 values: their lowest pairs, the next ones, and so on.
    """
    values[:] = unpack(blocks[:, :64].reshape(-1, 2, 32), 2).reshape(-1, 256)
    values -= np.float32(1)
    values *= half(blocks, 64)
