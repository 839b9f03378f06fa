"""Decode the K types, super-blocks of 256: q4_k and q6_k. Source: ggml's `ggml-quants.c`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refruntime.quants.legacy import half


def decode_q4_k(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode d f16, dmin f16, 12 bytes of scales, 128 bytes of nibbles. [blocks, 144] -> [blocks, 256].

    Eight groups of 32: (d * scale) * q - (dmin * minimum), each operation rounded (section 13, no fused multiply-add).
    Each 32 bytes of nibbles hold two groups: the low nibbles one, the high nibbles the next.
    """
    count = blocks.shape[0]
    scales, minima = _scales_and_minima(blocks[:, 4:16])  # [blocks, 8] each
    packed = blocks[:, 16:].reshape(count, 4, 1, 32)
    quants = np.concatenate([packed & np.uint8(15), packed >> np.uint8(4)], axis=2)  # [blocks, 4, 2, 32]
    factors = (half(blocks, 0) * scales.astype(np.float32)).reshape(count, 8, 1)
    offsets = (half(blocks, 2) * minima.astype(np.float32)).reshape(count, 8, 1)
    values = factors * quants.reshape(count, 8, 32).astype(np.float32) - offsets  # [blocks, 8, 32]
    return values.reshape(count, 256)


def decode_q6_k(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode 128 bytes of low nibbles, 64 of high pairs, 16 int8 scales, d f16. [blocks, 210] -> [blocks, 256].

    Two halves of 128 values; in each, four runs of 32: the low nibbles of 64 bytes, then their high nibbles, completed
    by the four bit pairs of 32 bytes. Value: (d * scale) * (q - 32), one scale for 16 values.
    """
    count = blocks.shape[0]
    low = blocks[:, :128].reshape(count, 2, 1, 64)
    low = np.concatenate([low & np.uint8(15), low >> np.uint8(4)], axis=2).reshape(count, 2, 4, 32)
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(4, 1)
    high = (blocks[:, 128:192].reshape(count, 2, 1, 32) >> shifts) & np.uint8(3)  # [blocks, 2, 4, 32]
    quants = (low | high << np.uint8(4)).astype(np.float32) - np.float32(32)
    scales = blocks[:, 192:208].view(np.int8).astype(np.float32)  # [blocks, 16]
    factors = (half(blocks, 208) * scales).reshape(count, 16, 1)
    return (factors * quants.reshape(count, 16, 16)).reshape(count, 256)


def _scales_and_minima(packed: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Unpack eight 6-bit scales and eight 6-bit minima. [blocks, 12] -> two of [blocks, 8].

    Bytes 0..3 and 4..7 hold the first four scales and minima in their low six bits; their upper two bits complete the
    last four, whose low nibbles (scales) and high nibbles (minima) are bytes 8..11.
    """
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    upper = np.uint8(0x30)
    scales = [first & np.uint8(63), (third & np.uint8(15)) | (first >> np.uint8(2) & upper)]
    minima = [second & np.uint8(63), (third >> np.uint8(4)) | (second >> np.uint8(2) & upper)]
    return np.concatenate(scales, axis=1), np.concatenate(minima, axis=1)
