"""Profile `seq32`: float32 storage, every product and sum rounded to float32 in the contract's order (section 11).

Plain NumPy is the definition. Where numba is installed, compiled loops (`kernels_numba`) give the same bits faster.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics import libm
from refruntime.numerics.base import (
    PLAIN_ATTENTION,
    Array,
    Attention,
    AttentionVariant,
    Numerics,
    RowSource,
    add_rows,
    error_function,
    row_ranges,
)

Float32 = NDArray[np.float32]

COLUMN_CHUNK = 64  # columns whose products are formed before they are added
OUTPUT_TILE = 2048  # outputs per tile: a tile of products stays in the second-level cache
PRODUCTS = 131_072  # products that are held at once
THREAD_WORK = 400_000  # multiplications from which a second thread pays
COMPILED_THREAD_WORK = 4_000_000  # the same for compiled loops
LOADING_PAYS = 400_000_000  # multiplications in NumPy that take as long as loading the compiled loops

KERNELS = ("auto", "numpy", "numba")

_LOADING = threading.Lock()  # the loops are made once for the process, whoever asks first


class ScaledColumns(NamedTuple):
    """A quantised matrix whose scale is applied after the product (options of FW-4).

    `values` float32 [in, out]; `scales` float32 [in / block_size, out]; `per_block` sums a block before scaling it.
    """

    values: Float32
    scales: Float32
    block_size: int
    per_block: bool


def tell_terminal(message: str) -> None:
    """Write a message to the standard error stream if a person reads it there."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"refruntime: {message}\n")


class Seq32(Numerics):
    """Sequential float32; the additions of every output happen in index order, one rounding each.

    `np.add.reduce` over the first axis of a contiguous [k, m] array with m > 1 adds row after row; a test holds it to
    `np.add.accumulate`, which is sequential by definition. Threads split the outputs, never a sum.

    `kernels`: "numpy"; "numba", ImportError where it cannot be loaded; "auto", which turns from NumPy to numba when so
    much was multiplied that loading it pays. `notice` is told when the loops have to be compiled first. None of these
    changes a bit.
    """

    name = "seq32"
    dtype = np.float32

    def __init__(
        self, threads: int | None = None, kernels: str = "auto", notice: Callable[[str], None] = tell_terminal
    ) -> None:
        if kernels not in KERNELS:
            raise ValueError(f"unknown kernels {kernels!r}; expected one of {', '.join(KERNELS)}")
        self._threads = threads if threads is not None else min(os.cpu_count() or 1, 8)
        self._pool: ThreadPoolExecutor | None = None
        self._notice = notice
        self._compiled: Any = _load_kernels(notice) if kernels == "numba" else None
        self._until_loading: float = LOADING_PAYS if kernels == "auto" else math.inf

    @property
    def kernels(self) -> str:
        """Return which loops run now: `numpy` or `numba`."""
        return "numpy" if self._compiled is None else "numba"

    def matrix(self, sources: Sequence[RowSource]) -> Float32:
        """Store [out, in] matrices as contiguous columns [in, sum of outs]; a part is decoded at a time."""
        columns = np.empty((sources[0].shape[1], sum(source.shape[0] for source in sources)), np.float32)
        begin = 0
        for source in sources:
            for start, stop in row_ranges(source.shape):
                columns[:, begin + start : begin + stop] = source.rows(start, stop).T
            begin += source.shape[0]
        return columns

    def matrix_rows(self, matrix: Float32, ids: Sequence[int]) -> Float32:
        """Return rows of a stored matrix: ids [n] -> [n, in]."""
        return np.ascontiguousarray(matrix[:, ids].T)

    def scaled_matrix(
        self, values: NDArray[np.int8], scales: Float32, block_size: int, per_block: bool
    ) -> ScaledColumns:
        """Store int8 values [out, in] and scales [out, in / block_size] for an option of FW-4."""
        return ScaledColumns(
            np.ascontiguousarray(values.T.astype(np.float32)), np.array(scales.T, order="C"), block_size, per_block
        )

    def project(self, matrix: Float32 | ScaledColumns, x: Array) -> Float32:
        """Multiply: [n, in] -> [n, out]; `acc += w * x` over the columns in index order from 0.0 (FW-4)."""
        columns = matrix.values if isinstance(matrix, ScaledColumns) else matrix
        inputs, outputs = columns.shape
        count = x.shape[0]
        multiplications = inputs * outputs * count
        self._spend(multiplications)
        result = np.empty((count, outputs), np.float32)
        kernels = self._compiled
        if kernels is not None and not isinstance(matrix, ScaledColumns):
            flat = result.reshape(-1), columns.reshape(-1), _flat(x)

            def compiled_tile(bounds: tuple[int, int]) -> None:
                kernels.project(*flat, count, inputs, outputs, *bounds)

            self._each(compiled_tile, _ranges(outputs, self._parts(multiplications, COMPILED_THREAD_WORK)))
            return result
        by_column = np.ascontiguousarray(x.T)  # [in, n]

        def tile(bounds: tuple[int, int]) -> None:
            with np.errstate(all="ignore"):  # the error state belongs to a thread
                _project_tile(matrix, by_column, result, *bounds)

        self._each(tile, _tiles(outputs, self._parts(multiplications, THREAD_WORK)))
        return result

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        """Normalise rows: [n, H] -> [n, H]; x * inv * weight, left to right (FW-3)."""
        if self._compiled is None:
            return super().rms_norm(x, weight, epsilon)
        normal = np.empty(x.shape, np.float32)  # [n, H]
        self._compiled.rms_norm(normal.reshape(-1), _flat(x), _flat(weight), np.float32(epsilon))
        return normal

    def attention(
        self, q: Array, keys: Array, values: Array, position: int, variant: AttentionVariant = PLAIN_ATTENTION
    ) -> Attention:
        """Attend causally (FW-6, GG-8, GG-11): q [n, A, D], keys [D, K, T], values [T, K, D], T = position + n."""
        if self._compiled is None or variant.sinks is not None:
            return super().attention(q, keys, values, position, variant)
        n, heads, head_dim = q.shape
        kv_heads, visible = keys.shape[1:]
        mixed = np.empty(q.shape, np.float32)
        scores, weights = np.empty((2, heads, n, visible), np.float32)
        flat = mixed.reshape(-1), scores.reshape(-1), weights.reshape(-1), _flat(q), *_run(keys), *_run(values)
        scale = self.attention_scale(heads, head_dim) if variant.scale is None else np.float32(variant.scale)
        choices = scale, np.float32(variant.softcap), min(variant.window or visible, visible)
        shape = (n, heads, head_dim, kv_heads, visible)

        def part(bounds: tuple[int, int]) -> None:
            self._compiled.attention(*flat, *choices, shape, *bounds)

        parts = self._parts(2 * n * heads * head_dim * visible, COMPILED_THREAD_WORK)
        self._each(part, _ranges(heads, min(parts, heads)))
        return Attention(mixed, scores, weights)

    def silu(self, x: Array) -> Array:
        """Return x / (1 + exp(-x)), element by element (FW-7)."""
        return super().silu(x) if self._compiled is None else self._elementwise(self._compiled.silu, x)

    def sum_rows(self, terms: Array) -> Array:
        """Add the rows of [k, m] in index order from 0.0: -> [m]."""
        terms = np.ascontiguousarray(terms)
        return add_rows(terms) + np.float32(0)  # a sum from +0.0 is never -0.0

    def exp(self, x: Array) -> Array:
        """Return expf (FW-8)."""
        return libm.expf(x) if self._compiled is None else self._elementwise(self._compiled.exponential, x)

    def sin(self, x: Array) -> Array:
        """Return sinf (FW-8)."""
        return libm.sinf(x)

    def cos(self, x: Array) -> Array:
        """Return cosf (FW-8)."""
        return libm.cosf(x)

    def tanh(self, x: Array) -> Array:
        """Return tanhf (FW-8)."""
        return libm.tanhf(x) if self._compiled is None else self._elementwise(self._compiled.hyperbolic_tangent, x)

    def erf(self, x: Array) -> Array:
        """Return the error function, evaluated in float64 and rounded once (GG-12)."""
        return error_function(x).astype(np.float32)

    def power(self, base: Array, exponent: Array) -> Array:
        """Return powf (FW-8)."""
        return libm.powf(base, exponent)

    def _elementwise(self, kernel: Callable[[Float32, Float32], None], x: Array) -> Float32:
        result = np.empty(x.shape, np.float32)
        kernel(result.reshape(-1), _flat(x))
        return result

    def _spend(self, multiplications: int) -> None:
        """Count work, and turn to the compiled loops when it is due and they are there."""
        if self._until_loading <= 0:
            self._turn_to_compiled(self._notice)
        self._until_loading -= multiplications

    def prepare(self) -> None:
        """Turn to the compiled loops now, where they are there, instead of in the middle of somebody's work."""
        if self._until_loading < math.inf:
            self._turn_to_compiled(lambda _: None)

    def _turn_to_compiled(self, notice: Callable[[str], None]) -> None:
        self._until_loading = math.inf
        try:
            self._compiled = _load_kernels(notice)
        except ModuleNotFoundError:
            return  # numba is optional
        except ImportError as error:  # it is there but does not suit this NumPy or Python
            notice(f"going on without compiled loops: {error}")

    def _parts(self, multiplications: int, worth_a_thread: int) -> int:
        return max(1, min(self._threads, multiplications // worth_a_thread))

    def _each(self, work: Callable[[tuple[int, int]], None], tiles: list[tuple[int, int]]) -> None:
        """Do the work of all tiles in this thread and, where there are several, in helping ones."""
        waiting = deque(tiles)

        def drain() -> None:
            while True:
                try:
                    bounds = waiting.popleft()
                except IndexError:
                    return
                work(bounds)

        helpers = []
        if self._threads > 1 and len(tiles) > 1:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="seq32")
            helpers = [self._pool.submit(drain) for _ in range(min(self._threads, len(tiles)) - 1)]
        drain()
        for helper in helpers:
            if not helper.cancel():  # one that has not begun has nothing left to do
                helper.result()


def _load_kernels(notice: Callable[[str], None]) -> Any:
    """Return the module of compiled loops, ready to run; ImportError where numba cannot be loaded."""
    from refruntime.numerics import kernels_numba

    with _LOADING:
        kernels_numba.compile_kernels(notice)
    return kernels_numba


def _flat(array: Array) -> Float32:
    return np.ascontiguousarray(array).reshape(-1)


def _run(array: Array) -> tuple[Float32, tuple[int, int]]:
    """Return the elements between the first and the last one of a [a, b, c] view, and the strides of a and b in them.

    So a part of a cache is read where it is. Numbers along c have to be neighbours; a copy helps where they are not.
    """
    if array.strides[2] != array.itemsize or min(array.strides) < 0:
        array = np.ascontiguousarray(array)
    strides = [stride // array.itemsize for stride in array.strides]
    length = 1 + sum((size - 1) * stride for size, stride in zip(array.shape, strides, strict=True))
    run = np.lib.stride_tricks.as_strided(array, (length,), (array.itemsize,))
    return run, (strides[0], strides[1])


def _ranges(count: int, parts: int) -> list[tuple[int, int]]:
    """Split 0 .. count - 1 into ranges of nearly equal length."""
    return list(itertools.pairwise(count * index // parts for index in range(parts + 1)))


def _tiles(outputs: int, parts: int) -> list[tuple[int, int]]:
    """Split the outputs into at least `parts` ranges of at most OUTPUT_TILE, none of a single output if avoidable."""
    count = max(parts, -(-outputs // OUTPUT_TILE))
    return _ranges(outputs, max(1, min(count, outputs // 16)))


def _project_tile(matrix: Any, by_column: Float32, result: Float32, begin: int, end: int) -> None:
    """Fill result[:, begin:end] from columns [in, out] and by_column [in, n]."""
    scaled = matrix if isinstance(matrix, ScaledColumns) else None
    columns = matrix if scaled is None else scaled.values
    inputs, count = by_column.shape
    width = end - begin
    chunk = min(COLUMN_CHUNK, inputs) if scaled is None else scaled.block_size
    group = max(1, min(count, PRODUCTS // (chunk * width)))
    for first in range(0, count, group):
        last = min(first + group, count)
        # Row 0 carries the running sums, so that each chunk continues where the last one stopped.
        terms = np.zeros((chunk + 1, last - first, width), np.float32)  # [chunk + 1, group, width]
        for column in range(0, inputs, chunk):
            size = min(chunk, inputs - column)
            block = columns[column : column + size, None, begin:end]  # [size, 1, width]
            np.multiply(block, by_column[column : column + size, first:last, None], out=terms[1 : size + 1])
            if scaled is None:
                terms[0] = add_rows(terms[: size + 1].reshape(size + 1, -1)).reshape(terms.shape[1:])
                continue
            scale = scaled.scales[column // scaled.block_size, begin:end]  # [width]
            if scaled.per_block:
                running = terms[0].copy()
                terms[0] = 0
                block_sum = add_rows(terms[: size + 1].reshape(size + 1, -1)).reshape(terms.shape[1:])
                terms[0] = running + block_sum * scale
            else:
                terms[1 : size + 1] *= scale
                terms[0] = add_rows(terms[: size + 1].reshape(size + 1, -1)).reshape(terms.shape[1:])
        result[first:last, begin:end] = terms[0]
