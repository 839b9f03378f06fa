"""Decode the types with blocks of 32: q4_0, q4_1, q5_0, q5_1, q8_0.

Every block begins with a half-precision scale d (and for the `_1` types a minimum m). Of a byte of 4-bit values the low
nibble belongs to the first half of the block, the high nibble to the second. Source: ggml's `ggml-quants.c`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def decode_q4_0(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode d f16, 16 bytes of nibbles: d * (q - 8). [blocks, 18] -> [blocks, 32]."""
    return (nibbles(blocks[:, 2:]).astype(np.float32) - np.float32(8)) * half(blocks, 0)


def decode_q4_1(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode d f16, m f16, 16 bytes of nibbles: d * q + m, two roundings. [blocks, 20] -> [blocks, 32]."""
    return nibbles(blocks[:, 4:]).astype(np.float32) * half(blocks, 0) + half(blocks, 2)


def decode_q5_0(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode d f16, 32 fifth bits, 16 bytes of nibbles: d * (q - 16). [blocks, 22] -> [blocks, 32]."""
    quants = nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6])  # [blocks, 32]
    return (quants.astype(np.float32) - np.float32(16)) * half(blocks, 0)


def decode_q5_1(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode d f16, m f16, 32 fifth bits, 16 bytes of nibbles: d * q + m. [blocks, 24] -> [blocks, 32]."""
    quants = nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8])  # [blocks, 32]
    return quants.astype(np.float32) * half(blocks, 0) + half(blocks, 2)


def decode_q8_0(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode d f16, 32 signed bytes: d * q. [blocks, 34] -> [blocks, 32]."""
    return blocks[:, 2:].view(np.int8).astype(np.float32) * half(blocks, 0)


def half(blocks: NDArray[np.uint8], at: int) -> NDArray[np.float32]:
    """Read the half-precision number at byte `at` of every block, float32 [blocks, 1]."""
    return blocks[:, at : at + 2].view("<f2").astype(np.float32)


def nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Unpack all low nibbles, then all high nibbles. [blocks, n] -> [blocks, 2 n]."""
    return np.concatenate([packed & np.uint8(15), packed >> np.uint8(4)], axis=1)


def _fifth_bits(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Unpack 32 bits, lowest first, to the value 16 or 0. [blocks, 4] -> [blocks, 32]."""
    return np.unpackbits(packed, axis=1, bitorder="little") << np.uint8(4)
