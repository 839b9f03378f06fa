"""Multiply from the blocks of a file, through the loops of `stored_loops`, which are called without numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np

from refruntime.machine_code import Loop
from refruntime.quants.compiled import tables_of

Product = Callable[[Any, Any, Any, int, int], None]
"""Called with result, blocks [out, blocks of a row, bytes], x, and the first and last row."""

LANES: Final = 32
"""Numbers that a loop handles at once; rows that the loops of seq32 take together."""
RUN_WIDTH: Final = 1024  # columns that are taken apart together: a multiple of every block
STRIDE: Final = RUN_WIDTH + LANES  # between rows of bytes: a power of two would crowd them into few lines of the cache
WIDTH: Final = 256  # columns of the types that are decoded block by block
ROW_STRIDE: Final = WIDTH + LANES // 2

TURNED: Final = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl", "f16", "bf16")
"""The types whose rows are read 32 at a time as the file has them."""

_BYTES_ROOM: Final = LANES * (LANES + STRIDE)
_ROOM: Final = LANES * (LANES + ROW_STRIDE)
_NO_BYTES: Final = np.empty(0, np.uint8)


@lru_cache
def dots_of(name: str) -> Product:
    """Return the loop of `fast` for a block type: one position [in] -> [out]."""
    loop, tables = Loop("refruntime.numerics.compiled.stored_loops", "dots", name), tables_of(name)

    def product(result: Any, blocks: Any, x: Any, begin: int, end: int) -> None:
        loop(result, blocks, x, begin, end, tables, _NO_BYTES, np.empty(WIDTH, np.float32))

    return product


@lru_cache
def columns_of(name: str) -> Product:
    """Return the loop of seq32 for a block type: flat [n, in] -> flat [n, out]."""
    loop, tables = Loop("refruntime.numerics.compiled.stored_loops", "columns", name), tables_of(name)
    turned = Loop("refruntime.numerics.compiled.stored_loops", "turned_columns", name) if name in TURNED else loop

    def product(result: Any, blocks: Any, x: Any, begin: int, end: int) -> None:
        room = np.empty(_ROOM + result.size // len(blocks) * LANES, np.float32)
        rooms = np.empty(_BYTES_ROOM, np.uint8), room
        (turned if end - begin >= LANES else loop)(result, blocks, x, begin, end, tables, *rooms)

    return product
