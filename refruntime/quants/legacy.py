"""Decode the types with blocks of 32 and evenly spaced values: q4_0, q4_1, q5_0, q5_1, q8_0.

Every block begins with a half-precision scale d (and for the `_1` types a minimum m). Of a byte of 4-bit values the low
nibble belongs to the first half of the block, the high nibble to the second. Source: ggml's `ggml-quants.c`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refruntime.quants.fields import half


def decode_q4_0(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 16 bytes of nibbles: d * (q - 8). [blocks, 18] -> [blocks, 32]."""
    _fill_with_nibbles(values, blocks, 2)
    values -= np.float32(8)
    values *= half(blocks, 0)


def decode_q4_1(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, m f16, 16 bytes of nibbles: d * q + m, two roundings. [blocks, 20] -> [blocks, 32]."""
    _fill_with_nibbles(values, blocks, 4)
    values *= half(blocks, 0)
    values += half(blocks, 2)


def decode_q5_0(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 32 fifth bits, 16 bytes of nibbles: d * (q - 16). [blocks, 22] -> [blocks, 32]."""
    values[:] = _five_bits(blocks, 2)
    values -= np.float32(16)
    values *= half(blocks, 0)


def decode_q5_1(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, m f16, 32 fifth bits, 16 bytes of nibbles: d * q + m. [blocks, 24] -> [blocks, 32]."""
    values[:] = _five_bits(blocks, 4)
    values *= half(blocks, 0)
    values += half(blocks, 2)


def decode_q8_0(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 32 signed bytes: d * q. [blocks, 34] -> [blocks, 32]."""
    values[:] = blocks[:, 2:].view(np.int8)
    values *= half(blocks, 0)


def _fill_with_nibbles(values: NDArray[np.uint8 | np.float32], blocks: NDArray[np.uint8], at: int) -> None:
    """Fill values [blocks, 32] with the nibbles of the 16 bytes at `at`."""
    values[:, :16] = (blocks & np.uint8(15))[:, at:]  # whole blocks are unpacked, since NumPy is fast at long runs
    values[:, 16:] = (blocks >> np.uint8(4))[:, at:]


def _five_bits(blocks: NDArray[np.uint8], at: int) -> NDArray[np.uint8]:
    """Join 32 fifth bits at `at`, lowest first, to the 32 nibbles behind them. [blocks, type_size] -> [blocks, 32]."""
    quants = np.empty((blocks.shape[0], 32), np.uint8)
    _fill_with_nibbles(quants, blocks, at + 4)
    quants |= np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little") << np.uint8(4)
    return quants
