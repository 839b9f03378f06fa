"""Decode the types with blocks of 32 and evenly spaced values: q4_0, q4_1, q5_0, q5_1, q8_0.

Every block begins with a half-precision scale d (and for the `_1` types a minimum m). Of a byte of 4-bit values the low
nibble belongs to the first half of the block, the high nibble to the second. Source: ggml's `ggml-quants.c`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refruntime.quants.fields import half, nibbles


def decode_q4_0(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 16 bytes of nibbles: d * (q - 8). [blocks, 18] -> [blocks, 32]."""
    values[:] = nibbles(blocks[:, 2:]).reshape(-1, 32)
    values -= np.float32(8)
    values *= half(blocks, 0)


def decode_q4_1(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, m f16, 16 bytes of nibbles: d * q + m, two roundings. [blocks, 20] -> [blocks, 32]."""
    np.multiply(nibbles(blocks[:, 4:]).reshape(-1, 32), half(blocks, 0), out=values)
    values += half(blocks, 2)


def decode_q5_0(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 32 fifth bits, 16 bytes of nibbles: d * (q - 16). [blocks, 22] -> [blocks, 32]."""
    values[:] = _five_bits(blocks[:, 2:6], blocks[:, 6:])
    values -= np.float32(16)
    values *= half(blocks, 0)


def decode_q5_1(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, m f16, 32 fifth bits, 16 bytes of nibbles: d * q + m. [blocks, 24] -> [blocks, 32]."""
    np.multiply(_five_bits(blocks[:, 4:8], blocks[:, 8:]), half(blocks, 0), out=values)
    values += half(blocks, 2)


def decode_q8_0(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 32 signed bytes: d * q. [blocks, 34] -> [blocks, 32]."""
    np.multiply(blocks[:, 2:].view(np.int8), half(blocks, 0), out=values)


def _five_bits(fifth: NDArray[np.uint8], packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Join 32 fifth bits, lowest first, to 32 nibbles. [blocks, 4], [blocks, 16] -> [blocks, 32]."""
    quants = nibbles(packed).reshape(-1, 32)
    high = np.unpackbits(fifth, axis=1, bitorder="little")  # [blocks, 32]
    high <<= np.uint8(4)
    quants |= high
    return quants
