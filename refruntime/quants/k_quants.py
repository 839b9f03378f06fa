"""Decode the K types, super-blocks of 256 with a scale for each small group. Source: ggml's `ggml-quants.c`.

Each operation is rounded to float32 on its own; nothing is fused (section 13). All products are exact, since they need
at most 23 bits (11 of d, 7 of a scale, 5 of a value); what is rounded, once, is the difference at the end of q2_k, q4_k
and q5_k.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refruntime.quants.fields import half, unpack


def decode_q2_k(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode 16 bytes of scales, 64 bytes of bit pairs, d f16, dmin f16. [blocks, 84] -> [blocks, 256].

    Sixteen groups of 16: (d * scale) * q - (dmin * minimum); a byte of scales holds the scale in its low nibble, the
    minimum in its high one. Each 32 bytes hold four runs of 32 values.
    """
    scales = blocks[:, :16]
    quants = unpack(blocks[:, 16:80].reshape(-1, 2, 32), 2)  # [blocks, 2, 4, 32]
    _scale_and_shift(half(blocks, 80) * (scales & np.uint8(15)), quants, half(blocks, 82) * (scales >> 4), values)


def decode_q3_k(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode 32 bytes of high bits, 64 of bit pairs, 12 of scales, d f16. [blocks, 110] -> [blocks, 256].

    Sixteen groups of 16: (d * (scale - 32)) * (q - 4), where q has its third bit in the high bits: run i of 32 values
    uses bit i of the 32 bytes. Sixteen 6-bit scales: nibbles in bytes 0..7, completed by the bit pairs of bytes 8..11.
    """
    packed = blocks[:, 96:108]
    scales = unpack(packed[:, :8], 4).reshape(-1, 16) | unpack(packed[:, 8:], 2).reshape(-1, 16) << np.uint8(4)
    quants = unpack(blocks[:, :32], 1)  # [blocks, 8, 32]
    quants <<= np.uint8(2)
    quants |= unpack(blocks[:, 32:96].reshape(-1, 2, 32), 2).reshape(-1, 8, 32)
    values[:] = quants.reshape(-1, 256)
    values -= np.float32(4)
    factors = half(blocks, 108) * (scales.astype(np.float32) - np.float32(32))  # [blocks, 16]
    groups = values.reshape(-1, 16, 16)
    groups *= factors[:, :, np.newaxis]


def decode_q4_k(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, dmin f16, 12 bytes of scales, 128 bytes of nibbles. [blocks, 144] -> [blocks, 256].

    Eight groups of 32: (d * scale) * q - (dmin * minimum). Each 32 bytes of nibbles hold two groups: the low nibbles
    one, the high nibbles the next.
    """
    scales, minima = _scales_and_minima(blocks[:, 4:16])  # [blocks, 8] each
    quants = unpack(blocks[:, 16:].reshape(-1, 4, 32), 4)  # [blocks, 4, 2, 32]
    _scale_and_shift(half(blocks, 0) * scales, quants, half(blocks, 2) * minima, values)


def decode_q5_k(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, dmin f16, 12 bytes of scales, 32 of fifth bits, 128 of nibbles. [blocks, 176] -> [blocks, 256].

    As q4_k, with a fifth bit for each value: group i of 32 values uses bit i of the 32 bytes.
    """
    scales, minima = _scales_and_minima(blocks[:, 4:16])  # [blocks, 8] each
    quants = unpack(blocks[:, 16:48], 1)  # [blocks, 8, 32]
    quants <<= np.uint8(4)
    quants |= unpack(blocks[:, 48:].reshape(-1, 4, 32), 4).reshape(-1, 8, 32)
    _scale_and_shift(half(blocks, 0) * scales, quants, half(blocks, 2) * minima, values)


def decode_q6_k(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode 128 bytes of low nibbles, 64 of high pairs, 16 int8 scales, d f16. [blocks, 210] -> [blocks, 256].

    Two halves of 128 values; in each, four runs of 32: the low nibbles of 64 bytes, then their high nibbles, completed
    by the four bit pairs of 32 bytes. Value: (d * scale) * (q - 32), one scale for 16 values.
    """
    quants = unpack(blocks[:, 128:192].reshape(-1, 2, 32), 2).reshape(-1, 2, 2, 64)
    quants <<= np.uint8(4)
    quants |= unpack(blocks[:, :128].reshape(-1, 2, 64), 4)  # [blocks, 2, 2, 64]
    values[:] = quants.reshape(-1, 256)
    values -= np.float32(32)
    factors = half(blocks, 208) * blocks[:, 192:208].view(np.int8)  # [blocks, 16]
    groups = values.reshape(-1, 16, 16)
    groups *= factors[:, :, np.newaxis]


def _scale_and_shift(
    factors: NDArray[np.float32],
    quants: NDArray[np.uint8],
    offsets: NDArray[np.float32],
    values: NDArray[np.float32],
) -> None:
    """Fill `values` with factor * q - offset. [blocks, g], [blocks, ...], [blocks, g] -> [blocks, 256]."""
    shape = (*factors.shape, values.shape[1] // factors.shape[1])
    groups = values.reshape(shape)
    values[:] = quants.reshape(values.shape)
    groups *= factors[:, :, np.newaxis]
    groups -= offsets[:, :, np.newaxis]


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
