"""Products for `fast` through compiled loops: rows are summed in any order, from float32 or from stored blocks.

One position is bound by memory: a loop reads the weights as they lie. Many positions are bound by multiplications:
tiles of stored weights are decoded into the cache, and the BLAS multiplies them. All is shared out by tiles of rows: a
BLAS waits for all of its threads after every product, which costs more than the product on a machine that does anything
else. Here a thread that comes late finds its rows done by another one.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.machine_code import prepare
from refruntime.numerics.compiled import formula_loops
from refruntime.numerics.compiled.loading import Notice, tell_terminal
from refruntime.numerics.compiled.stored import dots_of
from refruntime.numerics.compiled.threads import Range, Threads
from refruntime.numerics.in_place import BlocksInPlace, InPlaceMatrix, Part
from refruntime.quants.compiled import decoder

Float32 = NDArray[np.float32]

PART: Final = 1_000_000
"""Multiplications of one part: enough that handing it to a thread costs nothing beside it."""

DECODED: Final = 131_072
"""Weights of one tile that is decoded: they stay in the second-level cache until they are multiplied."""


class RowProducts:
    """Multiply matrices [out, in] by one or more positions with the given threads."""

    def __init__(self, threads: Threads, notice: Notice = tell_terminal) -> None:
        prepare(notice)
        self.formulas = formula_loops
        self._threads = threads

    def __call__(self, matrix: Float32, x: Float32) -> Float32:
        """Return the product [out] of a contiguous matrix [out, in] and a contiguous vector [in]."""
        result = np.empty(matrix.shape[0], np.float32)

        def part(bounds: Range) -> None:
            formula_loops.dots(result, matrix, x, *bounds)

        self._threads.each(part, _tiles(matrix.shape[0], matrix.shape[1], PART))
        return result

    def in_place(self, matrix: InPlaceMatrix, x: Any) -> Float32:
        """Multiply matrices where they are stored: [n, in] -> [n, sum of outs]."""
        n, inputs = x.shape
        result = np.empty((n, matrix.shape[0]), np.float32)
        vector, work = np.ascontiguousarray(x[0]), PART if n == 1 else DECODED

        def one_position(tile: tuple[Part, Range]) -> None:
            part, bounds = tile
            own = result[0, part.begin : part.end]
            if part.blocks is None:
                formula_loops.dots(own, part.plain, vector, *bounds)
            else:
                dots_of(part.blocks.type.name)(own, part.blocks.blocks, vector, *bounds)

        def positions(tile: tuple[Part, Range]) -> None:
            part, (begin, end) = tile
            rows = part.plain[begin:end] if part.blocks is None else _decoded(part.blocks, begin, end, inputs)
            np.matmul(x, rows.T, out=result[:, part.begin + begin : part.begin + end])

        tiles = [(part, bounds) for part in matrix.parts for bounds in _tiles(part.end - part.begin, inputs, work)]
        self._threads.each(one_position if n == 1 else positions, tiles)
        return result


def _tiles(rows: int, columns: int, work: int) -> list[Range]:
    """Split rows into ranges of about so many weights."""
    step = max(1, work // max(columns, 1))
    return [(begin, min(begin + step, rows)) for begin in range(0, rows, step)]


def _decoded(stored: BlocksInPlace, begin: int, end: int, inputs: int) -> Float32:
    """Decode some rows: -> [end - begin, in]."""
    values = np.empty((end - begin, inputs), np.float32)
    decode = decoder(stored.type.name)
    if decode is None:
        raise ValueError(f"{stored.type.name} has no blocks")
    decode(stored.blocks[begin:end].reshape(-1, stored.type.type_size), values.reshape(-1, stored.type.block_size))
    return values
