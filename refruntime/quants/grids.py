"""Decode the types that store several values at once as a point of a grid: iq1_s to iq3_s, super-blocks of 256.

The grids are those of ggml's `ggml-common.h`, taken from gguf-py, which holds them in a compact form. Layouts and order
of operations: `ggml-quants.c`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.quants.fields import BYTES, SIGNS, half, nibbles_in_turn

IQ1_DELTA: Final = np.float32(0.125)
SEVEN_BITS: Final = BYTES[:128, 0]
EVEN_SIGNS: Final = SEVEN_BITS | np.where(SIGNS[:128].prod(axis=1) < 0, np.uint8(128), np.uint8(0))
"""Seven stored signs and the eighth, which makes the number of negative ones even (`ksigns_iq2xs`)."""


@lru_cache
def grid(name: str) -> NDArray[np.float32]:
    """Return the points of the grid of a type, float32 [points, values of a point]; it is shared, do not write."""
    from gguf import quants  # takes a while, and few files need it

    kind = getattr(quants, name.upper())
    kind.init_grid()
    points: NDArray[np.float32] = np.array(kind.grid, np.float32).reshape(kind.grid_shape)
    points.flags.writeable = False
    return points


def decode_iq2_xxs(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, eight groups of 4 points and a word of signs and scale. [blocks, 66] -> [blocks, 256].

    A group of 32 values: 4 bytes number points of 8, the word holds four times seven signs and, on top, a 4-bit scale.
    Value: (d * (0.5 + scale) * 0.25) * point * sign.
    """
    groups = blocks[:, 2:].reshape(-1, 8, 8)
    words = groups[:, :, 4:].view("<u4")  # [blocks, 8, 1]
    factors = half(blocks, 0) * (np.float32(0.5) + _top_scales(words)) * np.float32(0.25)  # [blocks, 8]
    _signed_points("iq2_xxs", groups[:, :, :4], _word_signs(words), factors, values)


def decode_iq2_xs(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 32 words of point and signs, 8 bytes of scales. [blocks, 74] -> [blocks, 256].

    A word: 9 bits number a point of 8, 7 bits are signs. Sixteen 4-bit scales, one for two points.
    """
    words = blocks[:, 2:66].view("<u2")  # [blocks, 32]
    factors = half(blocks, 0) * (np.float32(0.5) + nibbles_in_turn(blocks[:, 66:])) * np.float32(0.25)  # [blocks, 16]
    _signed_points("iq2_xs", words & np.uint16(511), EVEN_SIGNS[words >> np.uint16(9)], factors, values)


def decode_iq2_s(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 32 low point bytes, 32 of signs, 8 of high bits, 8 of scales. [blocks, 82] -> [blocks, 256].

    The 10-bit number of a point has its upper two bits in the high bits, in turn. Sixteen 4-bit scales, one for two
    points of 8.
    """
    high = blocks[:, 66:74, np.newaxis] >> np.array([0, 2, 4, 6], np.uint8) & np.uint8(3)  # [blocks, 8, 4]
    points = blocks[:, 2:34] | high.reshape(-1, 32).astype(np.uint16) << np.uint16(8)
    factors = half(blocks, 0) * (np.float32(0.5) + nibbles_in_turn(blocks[:, 74:])) * np.float32(0.25)  # [blocks, 16]
    _signed_points("iq2_s", points, blocks[:, 34:66], factors, values)


def decode_iq3_xxs(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 64 bytes of points, eight words of signs and scale. [blocks, 98] -> [blocks, 256].

    As iq2_xxs, with two points of 4 for eight signs, and 0.5 in place of 0.25.
    """
    words = blocks[:, 66:].reshape(-1, 8, 4).view("<u4")  # [blocks, 8, 1]
    factors = half(blocks, 0) * (np.float32(0.5) + _top_scales(words)) * np.float32(0.5)  # [blocks, 8]
    _signed_points("iq3_xxs", blocks[:, 2:66], _word_signs(words), factors, values)


def decode_iq3_s(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 64 low point bytes, 8 of high bits, 32 of signs, 4 of scales. [blocks, 110] -> [blocks, 256].

    The 9-bit number of a point of 4 has its upper bit in the high bits, in turn. Eight 4-bit scales, one for 32 values:
    (d * (1 + 2 * scale)) * point * sign.
    """
    high = np.unpackbits(blocks[:, 66:74], axis=1, bitorder="little")  # [blocks, 64]
    points = blocks[:, 2:66] | high.astype(np.uint16) << np.uint16(8)
    factors = half(blocks, 0) * (np.uint8(1) + np.uint8(2) * nibbles_in_turn(blocks[:, 106:]))  # [blocks, 8]
    _signed_points("iq3_s", points, blocks[:, 74:106], factors, values)


def decode_iq1_s(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 32 low point bytes, eight words of high bits, scale and shift. [blocks, 50] -> [blocks, 256].

    A word serves 32 values: four times three upper bits of a point of 8, a 3-bit scale, and on top the sign of a shift:
    (d * (2 * scale + 1)) * (point +- 0.125).
    """
    words = blocks[:, 34:].view("<u2")  # [blocks, 8]
    high = words[:, :, np.newaxis] >> np.array([0, 3, 6, 9], np.uint16) & np.uint16(7)  # [blocks, 8, 4]
    factors = half(blocks, 0) * (np.uint16(2) * (words >> np.uint16(12) & np.uint16(7)) + np.uint16(1)).astype(
        np.float32
    )
    shifts = np.where(words & np.uint16(0x8000), -IQ1_DELTA, IQ1_DELTA)  # [blocks, 8]
    _shifted_points(blocks[:, 2:34], high, shifts, factors, values)


def decode_iq1_m(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode 32 low point bytes, 16 bytes of high bits and shifts, 4 words of scales. [blocks, 56] -> [blocks, 256].

    A nibble serves a point of 8: three upper bits, and on top the sign of its shift. A word holds four 3-bit scales,
    each for 16 values, and on top four bits of the half-precision d, the lowest first. Value as in iq1_s.
    """
    words = blocks[:, 48:].view("<u2")  # [blocks, 4]
    bits = np.bitwise_or.reduce(words >> np.uint16(12) << np.array([0, 4, 8, 12], np.uint16), axis=1, dtype=np.uint16)
    scales = words[:, :, np.newaxis] >> np.array([0, 3, 6, 9], np.uint16) & np.uint16(7)  # [blocks, 4, 4]
    factors = bits.view(np.float16).astype(np.float32)[:, np.newaxis] * (
        np.uint16(2) * scales.reshape(-1, 16) + np.uint16(1)
    ).astype(np.float32)
    high = nibbles_in_turn(blocks[:, 32:48])  # [blocks, 32]
    shifts = np.where(high & np.uint8(8), -IQ1_DELTA, IQ1_DELTA)
    _shifted_points(blocks[:, :32], high & np.uint8(7), shifts, factors, values)


def _top_scales(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return the upper four bits of words. [blocks, 8, 1] -> [blocks, 8]."""
    return (words >> np.uint32(28)).astype(np.float32)[:, :, 0]


def _word_signs(words: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the sign bytes for the four groups of seven bits of words. [blocks, 8, 1] -> [blocks, 8, 4]."""
    signs: NDArray[np.uint8] = EVEN_SIGNS[words >> np.array([0, 7, 14, 21], np.uint32) & np.uint32(127)]
    return signs


def _signed_points(
    name: str,
    points: NDArray[np.integer],
    signs: NDArray[np.uint8],
    factors: NDArray[np.float32],
    values: NDArray[np.float32],
) -> None:
    """Fill `values` [blocks, 256] with factor * point * sign: points of 8 or 4, 32 sign bytes, factors [blocks, g]."""
    table = grid(name)
    table.take(points, axis=0, out=values.reshape(*points.shape, table.shape[1]), mode="clip")
    values *= SIGNS.take(signs.reshape(-1, 32), axis=0).reshape(-1, 256)  # exact, so it may come first
    groups = values.reshape(*factors.shape, -1)
    groups *= factors[:, :, np.newaxis]


def _shifted_points(
    low: NDArray[np.uint8],
    high: NDArray[np.integer],
    shifts: NDArray[np.float32],
    factors: NDArray[np.float32],
    values: NDArray[np.float32],
) -> None:
    """Fill `values` [blocks, 256] with factor * (point + shift): 32 points of 8, each number in two parts."""
    points = low | high.reshape(-1, 32).astype(np.uint16) << np.uint16(8)
    grid("iq1_s").take(points, axis=0, out=values.reshape(-1, 32, 8), mode="clip")
    for operation, numbers in ((np.add, shifts), (np.multiply, factors)):
        groups = values.reshape(*numbers.shape, -1)
        operation(groups, numbers[:, :, np.newaxis], out=groups)
