"""Decode the types whose 4-bit values number the entries of a table: iq4_nl, iq4_xs, mxfp4, nvfp4.

Source: ggml's `ggml-common.h`, `ggml-quants.c` and `ggml-impl.h`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.quants.fields import BYTES, half, nibbles_in_turn

IQ4_VALUES: Final = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8
)  # `kvalues_iq4nl`
FP4_VALUES: Final = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.int8)
"""Twice the values of a float of 1 sign, 2 exponent and 1 mantissa bit (`kvalues_mxfp4`); -0.0 is the integer 0."""


def _byte_table(values: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the two values that the low and the high nibble of each byte number, int8 [256, 2]."""
    pairs: NDArray[np.int8] = values[BYTES >> np.array([0, 4], np.uint8) & np.uint8(15)]
    return pairs


IQ4_PAIRS: Final = _byte_table(IQ4_VALUES)
FP4_PAIRS: Final = _byte_table(FP4_VALUES)


def decode_iq4_nl(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 16 bytes of nibbles: d * table[q]. [blocks, 18] -> [blocks, 32]."""
    _look_up(IQ4_PAIRS, blocks[:, 2:], values.reshape(-1, 2, 16))
    values *= half(blocks, 0)


def decode_iq4_xs(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode d f16, 2 bytes of high scale bits, 4 of low ones, 128 of nibbles. [blocks, 136] -> [blocks, 256].

    Eight groups of 32, each like an iq4_nl block: (d * (scale - 32)) * table[q]. Of a 6-bit scale the low four bits
    are nibbles in turn, the upper two are pairs of bits in turn.
    """
    low = nibbles_in_turn(blocks[:, 4:8])  # [blocks, 8]
    high = blocks[:, 2:4].view("<u2") >> np.arange(0, 16, 2, dtype=np.uint16) & np.uint16(3)  # [blocks, 8]
    scales = (low | high << np.uint16(4)).astype(np.float32) - np.float32(32)
    _look_up(IQ4_PAIRS, blocks[:, 8:].reshape(-1, 8, 16), values.reshape(-1, 8, 2, 16))
    groups = values.reshape(-1, 8, 32)
    groups *= (half(blocks, 0) * scales)[:, :, np.newaxis]


def decode_mxfp4(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode an exponent e, 16 bytes of nibbles: 2**(e - 128) * table[q]. [blocks, 17] -> [blocks, 32].

    The table is doubled, so the scale is half of what e means; every e gives a power of two, 255 too.
    """
    _look_up(FP4_PAIRS, blocks[:, 1:], values.reshape(-1, 2, 16))
    values *= HALF_POWERS_OF_TWO[blocks[:, :1]]


def decode_nvfp4(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Decode 4 scales, 32 bytes of nibbles: half a scale * table[q]. [blocks, 36] -> [blocks, 64].

    Four groups of 16: 8 bytes whose low nibbles come first. A scale is a float of 4 exponent bits, biased by 7, and 3
    mantissa bits; its sign bit is ignored, and only 0x7f, the NaN without sign, means 0.
    """
    _look_up(FP4_PAIRS, blocks[:, 4:].reshape(-1, 4, 8), values.reshape(-1, 4, 2, 8))
    groups = values.reshape(-1, 4, 16)
    groups *= HALF_SCALES[blocks[:, :4]][:, :, np.newaxis]


def _look_up(pairs: NDArray[np.int8], packed: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Fill `values` with the table's values of all low nibbles, then of all high ones. [..., n] -> [..., 2, n]."""
    found = pairs.view(np.int16).reshape(-1).take(packed).view(np.int8).reshape(*packed.shape, 2)
    values[:] = found.swapaxes(-1, -2)


def _half_scales() -> NDArray[np.float32]:
    """Return half the value of every scale byte of nvfp4, float32 [256]; all are exact."""
    code = np.arange(256)
    exponent, mantissa = code >> 3 & 15, (code & 7).astype(np.float32)
    scales = np.where(exponent == 0, np.ldexp(mantissa, -9), np.ldexp(1 + mantissa / 8, exponent - 7))
    scales[0x7F] = 0
    return (scales / 2).astype(np.float32)


HALF_POWERS_OF_TWO: Final = np.ldexp(np.float32(1), np.arange(256) - 128)  # float32 [256], the first two are subnormal
HALF_SCALES: Final = _half_scales()
