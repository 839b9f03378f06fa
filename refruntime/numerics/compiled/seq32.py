"""Profile `seq32` as it is used: the bits of the plain definition, by threads and, where numba is there, by loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.machine_code import prepare
from refruntime.numerics.base import Array
from refruntime.numerics.compiled.formulas import COMPILED_THREAD_WORK, CompiledFormulas, elementwise, flat
from refruntime.numerics.compiled.loading import Loader, Notice, tell_terminal
from refruntime.numerics.compiled.stored import LANES, columns_of
from refruntime.numerics.compiled.threads import Range, Threads, ranges
from refruntime.numerics.in_place import (
    InPlaceMatrix,
    Inventory,
    checked_residence,
    has_blocks,
    in_place,
    residence,
)
from refruntime.numerics.seq32 import ScaledColumns, Seq32
from refruntime.numerics.sources import RowSource

Float32 = NDArray[np.float32]

THREAD_WORK: Final = 400_000
"""Multiplications in NumPy from which a second thread pays."""


class CompiledSeq32(CompiledFormulas, Seq32):
    """Seq32 in several threads, and in compiled loops once loading them pays.

    `kernels`: "numpy"; "numba", ImportError where it cannot be loaded; "auto", which turns from NumPy to numba when so
    much was multiplied that loading it pays. `notice` is told when the loops have to be compiled first. `resident` is
    one of `in_place.RESIDENT`. None of these changes a bit.
    """

    def __init__(
        self,
        threads: int | None = None,
        kernels: str = "auto",
        notice: Notice = tell_terminal,
        resident: str = "float32",
    ) -> None:
        self.resident = checked_residence(resident)
        self.storage = "columns in place" if resident == "stored" else "columns"
        self._threads = Threads("seq32", threads)
        self._loader, self._asked, self._notice = Loader(kernels, _load, notice), kernels, notice

    @property
    def kernels(self) -> str:
        """Return which loops run now: `numpy` or `numba`."""
        return self._loader.kernels

    def prepare(self) -> None:
        """Turn to the compiled loops now, where they are there, instead of in the middle of somebody's work."""
        self._loader.prepare()

    def settled(self, inventory: Inventory) -> CompiledSeq32:
        """Return the profile for a model with these weights, where `resident` was `auto`."""
        if self.resident != "auto":
            return self
        if inventory.many:
            self._loader.prepare()
        resident = residence(inventory, self._loader.loops is not None)
        return type(self)(self._threads.count, self._asked, self._notice, resident)

    def matrix(self, sources: Sequence[RowSource]) -> Any:
        """Store [out, in] matrices as contiguous columns [in, sum of outs]; or keep them as they are stored."""
        if self.resident != "stored":
            return super().matrix(sources)
        self._loader.prepare()
        return in_place(sources, super().matrix)

    def matrix_bytes(self, source: RowSource) -> int:
        """Return the bytes that a stored matrix takes beyond the file."""
        return 0 if self.resident == "stored" and has_blocks(source) else super().matrix_bytes(source)

    def matrix_rows(self, matrix: Float32 | InPlaceMatrix, ids: Sequence[int]) -> Float32:
        """Return rows of a stored matrix: ids [n] -> [n, in]."""
        return matrix.rows(ids) if isinstance(matrix, InPlaceMatrix) else super().matrix_rows(matrix, ids)

    def compiled_loops(self) -> ModuleType | None:
        """Return the module of loops, None before it is loaded."""
        return self._loader.loops

    def parts(self, multiplications: int) -> int:
        """Return into how many tiles the outputs of a product are split at least."""
        return self._threads.parts(multiplications, THREAD_WORK)

    def each(self, work: Callable[[Range], None], tiles: Sequence[Range]) -> None:
        """Do the work of all tiles of outputs, of which none needs another."""
        self._threads.each(work, tiles)

    def project(self, matrix: Float32 | ScaledColumns | InPlaceMatrix, x: Array) -> Float32:
        """Multiply: [n, in] -> [n, out]; `acc += w * x` over the columns in index order from 0.0 (FW-4)."""
        if isinstance(matrix, InPlaceMatrix):
            return self._in_place(matrix, x)
        inputs, outputs = (matrix.values if isinstance(matrix, ScaledColumns) else matrix).shape
        multiplications = inputs * outputs * len(x)
        loops = self._loader.spend(multiplications)
        if loops is None or isinstance(matrix, ScaledColumns):
            return super().project(matrix, x)
        result = np.empty((len(x), outputs), np.float32)
        operands = result.reshape(-1), matrix.reshape(-1), flat(x)

        def tile(bounds: Range) -> None:
            loops.project(*operands, len(x), inputs, outputs, *bounds)

        self.each(tile, ranges(outputs, self._threads.parts(multiplications, COMPILED_THREAD_WORK)))
        return result

    def _in_place(self, matrix: InPlaceMatrix, x: Array) -> Float32:
        """Multiply matrices where they are stored; without compiled loops a part is decoded at a time."""
        result = np.empty((len(x), matrix.shape[0]), np.float32)
        if self._loader.loops is None:
            for begin, rows, plain in matrix.decoded():
                columns = rows if plain else np.ascontiguousarray(rows.T)
                result[:, begin : begin + columns.shape[1]] = super().project(columns, x)
            return result
        positions = flat(x)
        for part in matrix.parts:
            if part.blocks is None:
                result[:, part.begin : part.end] = self.project(part.plain, x)
                continue
            own = result[:, part.begin : part.end]
            filled = own if own.flags.c_contiguous else np.empty(own.shape, np.float32)
            operands = filled.reshape(-1), part.blocks.blocks, positions
            loop, rows = columns_of(part.blocks.type.name), part.blocks.outputs
            count = self._threads.parts(part.blocks.size * len(x), COMPILED_THREAD_WORK)
            if count == 1:
                loop(*operands, 0, rows)
            else:

                def tile(bounds: Range, loop: Any = loop, operands: Any = operands) -> None:
                    loop(*operands, *bounds)

                groups = -(-rows // LANES)
                shares = ranges(groups, min(groups, 2 * count))
                self.each(tile, [(LANES * begin, min(LANES * end, rows)) for begin, end in shares])
            if filled is not own:
                own[:] = filled
        return result

    def exp(self, x: Array) -> Array:
        """Return expf (FW-8)."""
        loops = self.compiled_loops()
        return super().exp(x) if loops is None else elementwise(loops.exponential, x)

    def tanh(self, x: Array) -> Array:
        """Return tanhf (FW-8)."""
        loops = self.compiled_loops()
        return super().tanh(x) if loops is None else elementwise(loops.hyperbolic_tangent, x)


def _load(notice: Notice) -> ModuleType:
    """Return the module of compiled loops; ImportError where they cannot be."""
    from refruntime.numerics.compiled import formula_loops

    prepare(notice)
    return formula_loops
