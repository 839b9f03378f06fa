"""Quantise and dequantise the SLM1 types q8_0 and q4_0 (SL-2).

A quantised tensor is a pair: values int8 in the shape of the tensor, scales float32 with one number per block of
`block_size` values of a row. q8_0 uses one block per row. A vector is one row.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Q8_0_LIMIT: Final = 127
Q4_0_LIMIT: Final = 7


def dequantize(values: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32(value) x scale, rounded once (FW-1): values [rows, blocks, block], scales [rows, blocks]."""
    with np.errstate(over="ignore"):  # a scale near the largest float32 may overflow: infinity is the right answer
        product: NDArray[np.float32] = values.astype(np.float32) * scales[..., np.newaxis]  # [rows, blocks, block]
    return product


def unpack_q4_0(payload: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return the signed nibbles of bytes, low nibble first, 8..15 meaning -8..-1: uint8 [n] -> int8 [2 n]."""
    nibbles = np.empty(2 * payload.size, np.uint8)
    nibbles[0::2] = payload & 0x0F
    nibbles[1::2] = payload >> 4
    return ((nibbles ^ 8).astype(np.int8) - np.int8(8)).astype(np.int8)  # 0..7 stay, 8..15 become -8..-1


def pack_q4_0(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return two signed nibbles a byte, low nibble first: int8 [2 n] in -8..7 -> uint8 [n]."""
    nibbles = values.view(np.uint8) & np.uint8(0x0F)
    packed: NDArray[np.uint8] = nibbles[0::2] | (nibbles[1::2] << np.uint8(4))
    return packed


def quantize_q8_0(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return q8_0 values [rows, columns] and scales [rows, 1] of finite float32 rows.

    scale = largest magnitude of the row / 127; values are rounded half away from zero and clipped to -128..127.
    """
    values, scales = _quantize(rows[:, np.newaxis, :], Q8_0_LIMIT, (-128, 127))
    return values.reshape(rows.shape), scales


def quantize_q4_0(rows: NDArray[np.float32], block_size: int = 32) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return q4_0 values [rows, columns] and scales [rows, columns / block_size] of finite float32 rows.

    scale = largest magnitude of the block / 7; values are rounded half away from zero and clipped to -8..7.
    ValueError if block_size is odd or does not divide the row.
    """
    row_count, columns = rows.shape
    if block_size < 1 or block_size % 2 or columns % block_size:
        raise ValueError(f"q4_0 block size {block_size} is not an even divisor of the row length {columns}")
    blocks = rows.reshape(row_count, columns // block_size, block_size)
    values, scales = _quantize(blocks, Q4_0_LIMIT, (-8, 7))
    return values.reshape(rows.shape), scales


def _quantize(
    blocks: NDArray[np.float32], limit: int, clip: tuple[int, int]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise blocks [rows, blocks, block] with one scale each."""
    if not np.isfinite(blocks).all():
        raise ValueError("only finite values can be quantised")
    largest = np.abs(blocks).max(axis=-1)  # [rows, blocks]
    # A scale must be positive: zero blocks get 1, and a quotient that underflows gets the smallest float32.
    scales = np.maximum(largest / np.float32(limit), np.finfo(np.float32).smallest_subnormal)
    scales = np.where(largest == 0, np.float32(1), scales).astype(np.float32)
    quotients = (blocks / scales[..., np.newaxis]).astype(np.float64)  # rounded to float32, then exact in float64
    rounded = np.trunc(quotients + np.copysign(0.5, quotients))
    return np.clip(rounded, *clip).astype(np.int8), scales
