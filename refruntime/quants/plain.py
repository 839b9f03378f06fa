"""Decode the float types: f32, f16, bf16. Blocks of one element."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def decode_f32(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Reinterpret uint8 [blocks, 4] as float32 [blocks, 1]."""
    return blocks.view("<f4")


def decode_f16(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Widen IEEE half precision, uint8 [blocks, 2], to float32 [blocks, 1]; exact."""
    return blocks.view("<f2").astype(np.float32)


def decode_bf16(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Widen bfloat16, uint8 [blocks, 2], to float32 [blocks, 1]: its bits are the upper half of a float32."""
    return (blocks.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
