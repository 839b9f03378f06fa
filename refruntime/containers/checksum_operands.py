"""What the operations of the SLM1 checksum take at each byte of a file (SL-5, `contract.checksum_order`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.contract.checksum_order import TERMS, Mix, Multiply, Operation, Rotate, RotateBy

CHECKSUM_FIELD: Final = (100, 108)
"""Bytes of the header that count as zero, because they hold the checksum itself."""

CHUNK: Final = 1 << 14  # bytes for each pass: the prepared words stay in a processor cache

Words = NDArray[np.uint64]


def u64(value: int) -> np.uint64:
    """Return a 64-bit word."""
    return np.uint64(value)


_TERMS: Final[dict[str, Callable[[Words, Words], Words]]] = dict(
    zip(
        TERMS,
        (
            lambda byte, index: byte,
            lambda byte, index: index,
            lambda byte, index: byte ^ index,
            lambda byte, index: byte + index,
            lambda byte, index: index + u64(1),
            lambda byte, index: index & u64(255),
            lambda byte, index: index * u64(0x100000001B3),
            lambda byte, index: index * u64(0x9E3779B97F4A7C15),
            lambda byte, index: byte ^ (index + u64(1)),
            lambda byte, index: byte + (index & u64(255)),
            lambda byte, index: index << u64(8) | byte,
            lambda byte, index: byte << (u64(8) * (index % u64(8))),
            lambda byte, index: byte * (index + u64(1)),
        ),
        strict=True,
    )
)
"""Each term of `TERMS` as it is computed from bytes and indices: uint64 [n], uint64 [n] -> uint64 [n]."""


def counted_bytes(octets: NDArray[np.uint8], start: int, stop: int) -> tuple[Words, Words]:
    """Return bytes, those of the checksum field as zero, and their indices: uint64 [n], uint64 [n]."""
    chunk = octets[start:stop].astype(np.uint64)
    first, last = (min(max(edge - start, 0), chunk.size) for edge in CHECKSUM_FIELD)
    chunk[first:last] = 0
    return chunk, np.arange(start, start + chunk.size, dtype=np.uint64)


def term_values(term: str, byte: Words, index: Words) -> Words:
    """Return a term at each byte: uint64 [n]."""
    return _TERMS[term](byte, index)


def operand_values(operation: Operation, byte: Words, index: Words) -> Words:
    """Return what an operation takes at each byte, uint64 [n]: the mixed term, the distance to the left, the factor."""
    match operation:
        case Mix(_, term):
            return term_values(term, byte, index)
        case Multiply(factor):
            return np.full(byte.size, factor, np.uint64)
        case RotateBy(by, modulus, offset, right):
            distance = ((byte if by == "byte" else index) % u64(modulus) + u64(offset)) % u64(64)
            return (u64(64) - distance) % u64(64) if right else distance
        case Rotate(distance):
            return np.full(byte.size, distance or 0, np.uint64)
