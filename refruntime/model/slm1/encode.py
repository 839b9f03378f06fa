"""Encode numbers into the tensors that the SLM1 writer stores (SL-2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refruntime.containers.slm1_format import DType
from refruntime.containers.slm1_writer import EncodedTensor
from refruntime.quants.slm1 import pack_q4_0, quantize_q4_0, quantize_q8_0


def encode_tensor(
    name: str, values: NDArray[np.float32], dtype: DType = DType.F32, block_size: int = 32
) -> EncodedTensor:
    """Encode float32 values of one to four dimensions, quantising them if `dtype` asks for it.

    `block_size` is that of q4_0; q8_0 always takes the whole row. ValueError if the values cannot be quantised.
    """
    if dtype is DType.F32:
        return EncodedTensor(name, dtype, values.shape, 0, values.astype("<f4").tobytes(), b"")
    rows = values.reshape(-1, values.shape[-1])  # a vector is one row
    quantized, scales = quantize_q8_0(rows) if dtype is DType.Q8_0 else quantize_q4_0(rows, block_size)
    return encode_quantized(name, values.shape, dtype, quantized, scales)


def encode_quantized(
    name: str, shape: tuple[int, ...], dtype: DType, values: NDArray[np.int8], scales: NDArray[np.float32]
) -> EncodedTensor:
    """Store values [rows, columns] and scales [rows, columns / block_size] that are quantised already.

    The scales are stored as they are, so that tests can write files with unusable ones.
    """
    flat = values.reshape(-1)
    payload = pack_q4_0(flat) if dtype is DType.Q4_0 else flat
    block_size = shape[-1] // scales.shape[-1]
    return EncodedTensor(name, dtype, shape, block_size, payload.tobytes(), scales.astype("<f4").tobytes())
