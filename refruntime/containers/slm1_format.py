"""Describe the SLM1 byte layout once, for reader and writer (contract section 10).

Offsets: header 108 bytes at 0; directory entries of 64 bytes. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import Final, NamedTuple

MAGIC: Final = b"SLM1"
VERSION: Final = 1
HEADER_LENGTH: Final = 108
ENTRY_LENGTH: Final = 64
ALIGNMENT: Final = 64
"""Alignment of the directory, of the tensor data and of every payload and scale array that the writer makes."""

FLAG_TIED_OUTPUT: Final = 1
MAX_RANK: Final = 4

HEADER: Final = struct.Struct("<4sII11I2f3QIQQ")
ENTRY: Final = struct.Struct("<QII4IQQQI4s")

HEADER_OFFSETS: Final[dict[str, int]] = {
    "magic": 0,
    "version": 4,
    "header_length": 8,
    "model_type": 12,
    "flags": 16,
    "vocab_size": 20,
    "special_token_count": 24,
    "hidden_size": 28,
    "layer_count": 32,
    "head_count": 36,
    "kv_head_count": 40,
    "head_dim": 44,
    "ffn_size": 48,
    "max_context": 52,
    "rope_theta": 56,
    "rms_norm_epsilon": 60,
    "tokenizer_offset": 64,
    "tokenizer_length": 72,
    "tensor_directory_offset": 80,
    "tensor_count": 88,
    "tensor_data_offset": 92,
    "checksum": 100,
}
"""Byte offset of every header field."""

ENTRY_OFFSETS: Final[dict[str, int]] = {
    "name_hash": 0,
    "dtype": 8,
    "rank": 12,
    "dims": 16,
    "byte_offset": 32,
    "byte_length": 40,
    "scale_offset": 48,
    "block_size": 56,
}
"""Byte offset of every field inside a directory entry."""

POSITIVE_DIMENSIONS: Final = (
    "vocab_size",
    "hidden_size",
    "layer_count",
    "head_count",
    "kv_head_count",
    "head_dim",
    "ffn_size",
    "max_context",
)
"""Header dimensions that must not be zero, in header order."""


class DType(IntEnum):
    """Stored type of a tensor; the value is the code in the file."""

    F32 = 1
    Q8_0 = 2
    Q4_0 = 3

    @property
    def label(self) -> str:
        """Return the lower-case name that diagnostics show (DG-6)."""
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class Slm1Parameters:
    """The header fields that describe the model; a writer needs just these."""

    model_type: int = 1
    flags: int = 0
    vocab_size: int
    special_token_count: int = 4
    hidden_size: int
    layer_count: int
    head_count: int
    kv_head_count: int
    head_dim: int
    ffn_size: int
    max_context: int
    rope_theta: float
    rms_norm_epsilon: float

    @property
    def tied(self) -> bool:
        """Return whether the logits use the embeddings (flag bit 0)."""
        return bool(self.flags & FLAG_TIED_OUTPUT)


@dataclass(frozen=True, kw_only=True)
class Slm1Header(Slm1Parameters):
    """Every field of the 108 header bytes; offsets count from the start of the file."""

    version: int
    header_length: int
    tokenizer_offset: int
    tokenizer_length: int
    tensor_directory_offset: int
    tensor_count: int
    tensor_data_offset: int
    checksum: int


class TensorEntry(NamedTuple):
    """One directory entry as stored. `dims` are all four numbers; only the first `rank` count.

    `offset` is where the entry itself starts in the file.
    """

    offset: int
    name_hash: int
    dtype: int
    rank: int
    dims: tuple[int, int, int, int]
    byte_offset: int
    byte_length: int
    scale_offset: int
    block_size: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the dimensions that count, row-major: [out, in] or [n]."""
        return self.dims[: self.rank]


def fnv1a_64(name: str) -> int:
    """Return the FNV-1a 64 hash of the UTF-8 bytes of a tensor name (SL-4)."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def block_size_fits(dtype: DType, shape: tuple[int, ...], block_size: int) -> bool:
    """Return whether `block_size` is allowed for a tensor: q8_0 a whole row, q4_0 an even divisor of it (SL-2)."""
    columns = shape[-1]
    if dtype is DType.F32:
        return True
    if dtype is DType.Q8_0:
        return block_size == columns and block_size > 0
    return block_size > 0 and block_size % 2 == 0 and columns % block_size == 0


def scale_count(dtype: DType, shape: tuple[int, ...], block_size: int) -> int:
    """Return the number of float32 scales of a tensor whose block_size fits (SL-2); 0 for f32."""
    if dtype is DType.F32:
        return 0
    return prod(shape) // block_size


def payload_length(dtype: DType, shape: tuple[int, ...]) -> int:
    """Return the number of payload bytes of a tensor (SL-2); q4_0 holds two values a byte."""
    elements = prod(shape)
    if dtype is DType.F32:
        return 4 * elements
    if dtype is DType.Q8_0:
        return elements
    return elements // 2


def align(offset: int) -> int:
    """Round an offset up to the next multiple of 64."""
    return -(-offset // ALIGNMENT) * ALIGNMENT
