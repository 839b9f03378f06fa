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

from refruntime.quants.compiled import low_bit, tabled
from refruntime.quants.compiled.lane_memory import (
    store,
)
from refruntime.quants.compiled.lanes import (
    LANES,
    pair,
)
from refruntime.quants.compiled.loops import compile_for, specialised
from refruntime.quants.compiled.runs import READERS
from refruntime.quants.fields import SIGNS
from refruntime.quants.grids import EVEN_SIGNS, grid
from refruntime.quants.non_linear import FP4_VALUES, HALF_POWERS_OF_TWO, HALF_SCALES

HALVES: Final = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""The values of all half-precision numbers, float32 [65536]."""

STORED_SIGNS: Final = SIGNS[EVEN_SIGNS]
"""The eight signs that seven stored bits mean, float32 [128, 8]."""
FP4: Final = FP4_VALUES.astype(np.float32)
Table = NDArray[Any] | Callable[[], NDArray[Any]]


def _decode(blocks, values, table):  # type: ignore[no-untyped-def]
    """Decode the blocks of a type that is read 32 values at a time."""
    raw, out = blocks.reshape(-1), values.reshape(-1)
    size, runs = blocks.shape[1], values.shape[1] // LANES
    for block in range(blocks.shape[0]):
        own = scales(raw, block * size, table)  # type: ignore[name-defined]  # noqa: F821
        for index in range(runs):
            f = factors(raw, block * size, index, own)  # type: ignore[name-defined]  # noqa: F821
            o = offsets(raw, block * size, index, own)  # type: ignore[name-defined]  # noqa: F821
            q = numbers(quants(raw, block * size, index))  # type: ignore[name-defined]  # noqa: F821
            lanes = combine(q, pair(f[0], f[1]), pair(o[0], o[1]))  # type: ignore[name-defined]  # noqa: F821
            store(out, (block * runs + index) * LANES, lanes)


def reading(template: Callable[..., Any], name: str, **sizes: int) -> Any:
    """Make a kernel of a template that calls the parts of a type's reader by their names."""
    return specialised(template, name, **READERS[name]._asdict(), **sizes)


KERNELS: Final[Mapping[str, tuple[Any, tuple[Table, ...]]]] = {
    **{name: (reading(_decode, name), (HALF_POWERS_OF_TWO if name == "mxfp4" else HALVES,)) for name in READERS},
    "q1_0": (low_bit.q1_0, (HALVES,)),
    "q2_0": (low_bit.q2_0, (HALVES,)),
    "tq1_0": (low_bit.tq1_0, (HALVES,)),
    "tq2_0": (low_bit.tq2_0, (HALVES,)),
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


def tables_of(name: str) -> tuple[NDArray[Any], ...]:
    """Return the tables that the kernel of a type takes."""
    return tuple(source() if callable(source) else source for source in KERNELS[name][1])


@lru_cache
def decoder(name: str) -> Callable[[NDArray[np.uint8], NDArray[np.float32]], None] | None:
    """Return the compiled decoder of a type, compiling it first if need be; None for a type of plain numbers."""
    if name not in KERNELS:
        return None
    kernel, tables = KERNELS[name][0], tables_of(name)
    compile_for(kernel, readable(np.uint8, 2), types.Array(types.float32, 2, "C"), *map(type_of, tables))

    def decode(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
        kernel(blocks, values, *tables)

    return decode


def type_of(table: NDArray[Any]) -> types.Array:
    """Return numba's type of a table."""
    return readable(table.dtype, table.ndim)


def readable(dtype: Any, dimensions: int) -> types.Array:
    """Return numba's type of a contiguous array that is only read."""
    return types.Array(from_dtype(np.dtype(dtype)), dimensions, "C", readonly=True)
