"""Take the fields of many blocks apart: half-precision scales, and values of four, two or one bits."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

BYTES: Final = np.arange(256, dtype=np.uint8).reshape(256, 1)
SIGNS: Final = np.float32(1) - np.float32(2) * np.unpackbits(BYTES, axis=1, bitorder="little")
"""The eight bits of each byte, lowest first, as factors: -1 for a set bit, else 1. float32 [256, 8]."""


def half(blocks: NDArray[np.uint8], at: int) -> NDArray[np.float32]:
    """Read the half-precision number at byte `at` of every block, float32 [blocks, 1]."""
    return blocks[:, at : at + 2].view("<f2").astype(np.float32)


def unpack(packed: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Unpack the lowest `width` bits of each byte of a run, then the next ones. [..., n] -> [..., 8/width, n].

    n is a multiple of 4: four bytes are shifted together, and what crosses from one to the next is masked.
    """
    words = np.ascontiguousarray(packed).view(np.uint32)
    parts: NDArray[np.uint32] = words[..., np.newaxis, :] >> np.arange(0, 8, width, dtype=np.uint32)[:, np.newaxis]
    parts &= np.uint32(0x01010101 * ((1 << width) - 1))
    return parts.view(np.uint8)


def nibbles_in_turn(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Unpack the low, then the high nibble of each byte. [blocks, n] -> [blocks, 2 n]."""
    return np.stack([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1).reshape(packed.shape[0], -1)
