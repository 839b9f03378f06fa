"""What all libm functions share: argument checks, cache-sized blocks, and constants written as bit patterns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Float32Array: TypeAlias = NDArray[np.float32]
Float64Array: TypeAlias = NDArray[np.float64]
Int32Array: TypeAlias = NDArray[np.int32]

# Elements per block: the temporaries of a kernel then stay in the cache.
BLOCK_LENGTH = 32768


def float32_from_bits(bits: int) -> np.float32:
    """Return the float32 with the given bit pattern."""
    return np.uint32(bits).view(np.float32)


def apply_elementwise(
    kernel: Callable[..., Float32Array], *arguments: Float32Array | np.float32, name: str
) -> Float32Array:
    """Run a kernel for one-dimensional blocks over float32 arguments of any shape, broadcast together.

    Raises TypeError for any other dtype: rounding a float64 argument silently would hide a promotion in the caller.
    """
    arrays = [np.asarray(argument) for argument in arguments]
    for array in arrays:
        if array.dtype != np.float32:
            raise TypeError(f"{name} takes float32 arguments, found {array.dtype}")
    if len(arrays) > 1:
        arrays = list(np.broadcast_arrays(*arrays))
    flat = [np.ascontiguousarray(array).reshape(-1) for array in arrays]
    result = np.empty(arrays[0].shape, dtype=np.float32)
    flat_result = result.reshape(-1)
    # Overflow, underflow and NaN are results here, not accidents.
    with np.errstate(all="ignore"):
        for start in range(0, flat_result.size, BLOCK_LENGTH):
            block = slice(start, start + BLOCK_LENGTH)
            flat_result[block] = kernel(*(values[block] for values in flat))
    return result


def scale_by_power_of_two(value: Float32Array, exponent: Int32Array) -> Float32Array:
    """Return value * 2**exponent, rounded once, for |value| in [0.5, 2) and exponent in [-152, 130]. Shapes [N], [N].

    The first of the two products is exact, because half of the exponent cannot leave the normal range.
    """
    half = exponent >> 1
    return value * power_of_two(half) * power_of_two(exponent - half)


def power_of_two(exponent: Int32Array) -> Float32Array:
    """Return 2**exponent for exponents in [-126, 127]."""
    return ((exponent + np.int32(127)) << np.int32(23)).view(np.float32)
