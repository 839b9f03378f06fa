"""Compiled loops for the block types: the operations of the NumPy decoders, value after value, so the same bits.

No fast-math, so the compiler may not fuse a product into a sum. The loops hold no lock of Python and keep no state, so
any number of threads may call them. The NumPy decoders define the result and describe the layouts. The kernels are in
`decoding`; here is what is needed to call them, which numba is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.machine_code import Loop, prepare
from refruntime.quants.fields import SIGNS
from refruntime.quants.grids import EVEN_SIGNS, grid
from refruntime.quants.non_linear import FP4_VALUES, HALF_POWERS_OF_TWO, HALF_SCALES
from refruntime.quants.plain import IN_PAIRS_OF_BYTES

HALVES: Final = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""The values of all half-precision numbers, float32 [65536]."""

STORED_SIGNS: Final = SIGNS[EVEN_SIGNS]
"""The eight signs that seven stored bits mean, float32 [128, 8]."""
FP4: Final = FP4_VALUES.astype(np.float32)
NO_TABLE: Final = np.zeros(1, np.float32)
Table = NDArray[Any] | Callable[[], NDArray[Any]]

IN_RUNS: Final = (
    *("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4"),
)
"""The types that are read 32 values at a time, which `runs` takes apart."""

TABLES: Final[Mapping[str, tuple[Table, ...]]] = {
    **{name: (HALF_POWERS_OF_TWO if name == "mxfp4" else NO_TABLE,) for name in (*IN_RUNS, *IN_PAIRS_OF_BYTES)},
    "q1_0": (HALVES,),
    "q2_0": (HALVES,),
    "tq1_0": (HALVES,),
    "tq2_0": (HALVES,),
    "nvfp4": (FP4, HALF_SCALES),
    "iq2_xxs": (HALVES, partial(grid, "iq2_xxs"), STORED_SIGNS),
    "iq2_xs": (HALVES, partial(grid, "iq2_xs"), STORED_SIGNS),
    "iq2_s": (HALVES, partial(grid, "iq2_s"), SIGNS),
    "iq3_xxs": (HALVES, partial(grid, "iq3_xxs"), STORED_SIGNS),
    "iq3_s": (HALVES, partial(grid, "iq3_s"), SIGNS),
    "iq1_s": (HALVES, partial(grid, "iq1_s")),
    "iq1_m": (HALVES, partial(grid, "iq1_m")),
}
"""The tables that the kernel of every block type takes, the large ones as functions that make them."""


@lru_cache
def tables_of(name: str) -> tuple[NDArray[Any], ...]:
    """Return the tables that the kernel of a type takes."""
    made = (source() if callable(source) else source for source in TABLES[name])
    return tuple(np.ascontiguousarray(table) for table in made)


@lru_cache
def decoder(name: str) -> Callable[[NDArray[np.uint8], NDArray[np.float32]], None] | None:
    """Return the compiled decoder of a type; None where NumPy's is as fast. ImportError without compiled loops.

    That of numbers in two bytes takes 32 of them as a block.
    """
    if name not in TABLES:
        return None
    prepare()
    loop, tables = Loop("refruntime.quants.compiled.decoding", "decoding", name), tables_of(name)

    def decode(blocks: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
        loop(np.ascontiguousarray(blocks), values, *tables)

    return decode
