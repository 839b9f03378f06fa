"""Compute the SLM1 checksum (SL-5) fast enough for real files, in plain Python.

The published step mixes a byte b with its index i, rotates and multiplies:

    h = rotate_left(h ^ b ^ i, r) * P  mod 2^64

Each step needs the one before, so it cannot be spread over lanes. What can be saved is work per byte:

- `b ^ i` needs no state: NumPy prepares it for a whole chunk.
- `rotate_left(y, r) * P = y * (P << r) + (y >> (64 - r)) * P  mod 2^64`, because bits that the plain shift leaves above
  2^64 vanish in the modulus. So one step is an exclusive or, two products, a sum and one mask. The second product
  has only 2^r values: for the small rotation that is in use, a table of 32 numbers replaces it.
- The other two orders of the same three operations are this step with `b ^ i` rotated right, since
  `rotate_left(h, r) ^ x = rotate_left(h ^ rotate_right(x, r), r)`. One loop serves them all.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.profile import Profile

CHECKSUM_FIELD: Final = (100, 108)
"""Bytes of the header that count as zero, because they hold the checksum itself."""

_PRIME: Final = 0x100000001B3
_MASK: Final = 0xFFFFFFFFFFFFFFFF
_CHUNK: Final = 1 << 14  # bytes per pass: the prepared words stay in a processor cache
_LARGEST_TABLE_ROTATION: Final = 8


def slm1_checksum(data: bytes | memoryview, profile: Profile) -> int:
    """Return the checksum of a whole SLM1 file under the start, rotation and order of the profile (SL-5)."""
    rotation = profile.checksum_rotation
    order = profile.checksum_order
    rotate_words = 0 if order == "mix, rotate, multiply" else rotation
    state = profile.checksum_start
    if order == "mix, multiply, rotate":
        state = _rotate_left(state, 64 - rotation)  # undo the rotation that the first step of the loop begins with
    octets = np.frombuffer(data, np.uint8)
    for start in range(0, octets.size, _CHUNK):
        state = _advance(state, _mixed_words(octets, start, rotate_words).tolist(), rotation)
    if order == "mix, multiply, rotate":
        state = _rotate_left(state, rotation)
    return state


def _mixed_words(octets: NDArray[np.uint8], start: int, rotation: int) -> NDArray[np.uint64]:
    """Return `rotate_right(b ^ i, rotation)` for one chunk, with the checksum field as zero: uint64 [chunk]."""
    chunk = octets[start : start + _CHUNK].astype(np.uint64)
    first, last = (min(max(edge - start, 0), chunk.size) for edge in CHECKSUM_FIELD)
    chunk[first:last] = 0
    words = chunk ^ np.arange(start, start + chunk.size, dtype=np.uint64)
    if rotation == 0:
        return words
    return (words >> np.uint64(rotation)) | (words << np.uint64(64 - rotation))


def _advance(state: int, words: list[int], rotation: int) -> int:
    """Apply one step per word; the names are local because this loop runs once per byte of the file."""
    mask = _MASK
    shifted_prime = _PRIME << rotation
    rest = 64 - rotation
    if rotation <= _LARGEST_TABLE_ROTATION:
        table = [high * _PRIME for high in range(1 << rotation)]
        for word in words:
            mixed = state ^ word
            state = (mixed * shifted_prime + table[mixed >> rest]) & mask
    else:
        prime = _PRIME
        for word in words:
            mixed = state ^ word
            state = (mixed * shifted_prime + (mixed >> rest) * prime) & mask
    return state


def _rotate_left(value: int, count: int) -> int:
    count %= 64
    return (value << count | value >> (64 - count)) & _MASK
