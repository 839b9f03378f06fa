"""Compiled loops for the block types: the operations of the NumPy decoders, value after value, so the same bits.

No fast-math, so the compiler may not fuse a product into a sum. The loops hold no lock of Python and keep no state, so
any number of threads may call them. The NumPy decoders define the result and describe the layouts. Every kernel fills
values [blocks, block_size] from blocks [blocks, type_size]; its further arguments are tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np
from numba import from_dtype, types
from numpy.typing import NDArray

from refruntime.quants.compiled import linear, tabled
from refruntime.quants.fields import SIGNS
from refruntime.quants.grids import EVEN_SIGNS, grid
from refruntime.quants.non_linear import FP4_VALUES, HALF_POWERS_OF_TWO, HALF_SCALES, IQ4_VALUES

HALVES: Final = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""The values of all half-precision numbers, float32 [65536]."""

STORED_SIGNS: Final = SIGNS[EVEN_SIGNS]
"""The eight signs that seven stored bits mean, float32 [128, 8]."""
IQ4: Final = IQ4_VALUES.astype(np.float32)
FP4: Final = FP4_VALUES.astype(np.float32)
Table = NDArray[Any] | Callable[[], NDArray[Any]]
KERNELS: Final[Mapping[str, tuple[Any, tuple[Table, ...]]]] = {
    "q4_0": (linear.q4_0, (HALVES,)),
    "q4_1": (linear.q4_1, (HALVES,)),
    "q5_0": (linear.q5_0, (HALVES,)),
    "q5_1": (linear.q5_1, (HALVES,)),
    "q8_0": (linear.q8_0, (HALVES,)),
    "q2_k": (linear.q2_k, (HALVES,)),
    "q3_k": (linear.q3_k, (HALVES,)),
    "q4_k": (linear.q4_k, (HALVES,)),
    "q5_k": (linear.q5_k, (HALVES,)),
    "q6_k": (linear.q6_k, (HALVES,)),
    "q1_0": (linear.q1_0, (HALVES,)),
    "q2_0": (linear.q2_0, (HALVES,)),
    "tq1_0": (linear.tq1_0, (HALVES,)),
    "tq2_0": (linear.tq2_0, (HALVES,)),
    "iq4_nl": (tabled.iq4_nl, (HALVES, IQ4)),
    "iq4_xs": (tabled.iq4_xs, (HALVES, IQ4)),
    "mxfp4": (tabled.mxfp4, (FP4, HALF_POWERS_OF_TWO)),
    "nvfp4": (tabled.nvfp4, (FP4, HALF_SCALES)),
    "iq2_xxs": (tabled.iq2_xxs, (HALVES, partial(grid, "iq2_xxs"), STORED_SIGNS)),
    "iq2_xs": (tabled.iq2_xs, (HALVES, partial(grid, "iq2_xs"), STORED_SIGNS)),
    "iq2_s": (tabled.iq2_s, (HALVES, partial(grid, "iq2_s"), SIGNS)),
    "iq3_xxs": (tabled.iq3_xxs, (HALVES, partial(grid, "iq3_xxs"), STORED_SIGNS)),
    "iq3_s": (tabled.iq3_s, (HALVES, partial(grid, "iq3_s"), SIGNS)),
    "iq1_s": (tabled.iq1_s, (HALVES, partial(grid, "iq1_s"))),
    "iq1_m": (tabled.iq1_m, (HALVES, partial(grid, "iq1_m"))),
}
"""The kernel of every block type, and its tables, the large ones as functions that make them."""


@lru_cache
def decoder(name: str) -> Callable[[NDArray[np.uint8], NDArray[np.float32]], None] | None:
    """Return the compiled decoder of a type, compiling it first if need be; None for a type of plain numbers."""
    if name not in KERNELS:
        return None
    kernel, sources = KERNELS[name]
    tables = [source() if callable(source) else source for source in sources]
    if not kernel.signatures:
        kernel.compile((_readable(np.uint8, 2), types.Array(types.float32, 2, "C"), *map(_type, tables)))
        kernel.disable_compile()  # arrays of another type are a mistake, not a reason to compile again

    def decode(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
        kernel(blocks, values, *tables)

    return decode


def _type(table: NDArray[Any]) -> types.Array:
    return _readable(table.dtype, table.ndim)


def _readable(dtype: Any, dimensions: int) -> types.Array:
    """Return numba's type of a contiguous array that is only read."""
    return types.Array(from_dtype(np.dtype(dtype)), dimensions, "C", readonly=True)
