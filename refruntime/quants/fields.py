"""Take the fields of many blocks apart: half-precision scales, nibbles, pairs of bits."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

PAIR_SHIFTS: Final = np.array([0, 2, 4, 6], np.uint8).reshape(4, 1)
BIT_SHIFTS: Final = np.arange(8, dtype=np.uint8).reshape(8, 1)

BYTES: Final = np.arange(256, dtype=np.uint8).reshape(256, 1)
SIGNS: Final = np.float32(1) - np.float32(2) * np.unpackbits(BYTES, axis=1, bitorder="little")
"""The eight bits of each byte, lowest first, as factors: -1 for a set bit, else 1. float32 [256, 8]."""


def half(blocks: NDArray[np.uint8], at: int) -> NDArray[np.float32]:
    """Read the half-precision number at byte `at` of every block, float32 [blocks, 1]."""
    return blocks[:, at : at + 2].view("<f2").astype(np.float32)


def nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Unpack all low nibbles of a run, then all high ones. [..., n] -> [..., 2, n]."""
    parts = np.empty((*packed.shape[:-1], 2, packed.shape[-1]), np.uint8)
    np.bitwise_and(packed, np.uint8(15), out=parts[..., 0, :])
    np.right_shift(packed, np.uint8(4), out=parts[..., 1, :])
    return parts


def nibbles_in_turn(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Unpack the low, then the high nibble of each byte. [blocks, n] -> [blocks, 2 n]."""
    return np.stack([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1).reshape(packed.shape[0], -1)


def bit_pairs(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Unpack the lowest pairs of bits of a run, then the next ones, four in all. [..., n] -> [..., 4, n]."""
    pairs: NDArray[np.uint8] = packed[..., np.newaxis, :] >> PAIR_SHIFTS
    pairs &= np.uint8(3)
    return pairs


def bits(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Unpack the lowest bits of a run, then the next ones, eight in all. [..., n] -> [..., 8, n]."""
    single: NDArray[np.uint8] = packed[..., np.newaxis, :] >> BIT_SHIFTS
    single &= np.uint8(1)
    return single
