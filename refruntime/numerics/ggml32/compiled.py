"""Choose the compiled loop for a product of ggml32 and split its rows over threads."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.machine_code import Loop, prepare
from refruntime.numerics.compiled.loading import Notice
from refruntime.numerics.compiled.threads import Range, Threads, ranges
from refruntime.numerics.ggml32.activations import Activations, as_half
from refruntime.numerics.ggml32.blocks import FORMS, IntegerBlocks, take_apart
from refruntime.numerics.ggml32.dots import GROUP
from refruntime.quants.ggml import GGML_TYPES

Float32 = NDArray[np.float32]

THREAD_WORK: Final = 4_000_000
"""Multiplications from which a second thread pays."""


class CompiledProducts:
    """The products of `dots` through compiled loops, with as many threads as there are processors, at most 8."""

    def __init__(self, threads: int | None = None, notice: Notice | None = None) -> None:
        prepare(notice)
        self._threads = Threads("ggml32", threads)

    def quantize(self, kind: str, x: Float32) -> Activations:
        """Quantise rows [n, columns] as `activations` says."""
        size = 256 if kind == "q8_k" else 32
        blocks = np.ascontiguousarray(x).reshape(len(x), -1, size)
        quants, scales = np.empty(blocks.shape, np.int8), np.empty(blocks.shape[:2], np.float32)
        if kind == "q8_k":
            _loop("quantize_256")(blocks, quants, scales)
            return Activations(quants, scales, np.zeros_like(scales))
        _loop("quantize_32")(blocks, quants, scales)
        sums = np.zeros_like(scales)
        if kind == "q8_1":
            sums = as_half(quants.sum(axis=2, dtype=np.int32).astype(np.float32) * scales)
        return Activations(quants, as_half(scales), sums)

    def dot(self, weights: IntegerBlocks, rows: Activations) -> Float32:
        """Return every dot of weight rows and quantised rows: -> [r, n]."""
        form, integers = weights.form, weights.integers
        quants = rows.quants.astype(np.int16)  # [n, b, size]
        result = np.empty((integers.shape[0], len(quants)), np.float32)
        operands: tuple[Any, ...] = integers, weights.scales
        loop: str
        if form.order == "sum times scales":
            loop, operands = "sum_times_scales", (*operands, quants, rows.scales)
        elif form.order == "scales times sum":
            split = quants.reshape(len(quants), -1, integers.shape[2])
            unit = form.unit if form.unit_inside else 1
            repeat = split.shape[1] // rows.scales.shape[1]
            loop, operands = "scales_times_sum", (*operands, split, rows.scales, repeat, np.float64(unit))
        elif form.order == "scales times sum, plus minimum":
            operands = (*operands, weights.minimum_scales, quants, rows.scales, rows.sums)
            loop = "plus_minimum"
        elif form.order in ("scales times sum, less minima", "eight lanes", "eight lanes, less minima"):
            loop = "less_minima" if form.order.startswith("scales") else "eight_lanes"
            operands = (*operands, *_minima(weights), quants, rows.scales, _sums_of_groups(rows))
        elif form.order == "groups with scales":
            loop, operands = "groups_with_scales", (*operands, weights.group_scales, quants, rows.scales)
        else:
            loop, operands = "parts_of_a_block", (*operands, quants, rows.scales)
        self._each(loop, result, operands, integers.size * len(quants))
        unit = form.unit
        return result if unit == 1 or form.unit_inside else result * np.float32(1 / unit)

    def plain(self, columns: Float32, rows: Float32) -> Float32:
        """Return every dot of plain numbers: columns [in, r], rows [n, in] -> [r, n]."""
        result = np.empty((columns.shape[1], len(rows)), np.float32)
        self._each("plain_dots", result, (columns, np.ascontiguousarray(rows)), columns.size * len(rows))
        return result

    def plain_of_heads(self, columns: Float32, rows: Float32) -> Float32:
        """Return every dot of plain numbers of each head: columns [K, in, r], rows [K, n, in] -> [K, r, n]."""
        columns, rows = np.ascontiguousarray(columns), np.ascontiguousarray(rows)
        result = np.empty((len(columns), columns.shape[2], rows.shape[1]), np.float32)
        self._each("plain_dots_of_heads", result, (columns, rows), columns.size * rows.shape[1])
        return result

    def _each(self, name: str, result: Float32, operands: tuple[Any, ...], work: int) -> None:
        """Run a loop over all rows of the result, in parts."""
        loop = _loop(name, operands[0].dtype.char)
        parts = 1 if work < 2 * THREAD_WORK else min(self._threads.parts(work, THREAD_WORK), max(1, len(result)))
        if parts == 1:
            loop(result, 0, len(result), *operands, *_room(name, result, len(result)))
            return

        def part(bounds: Range) -> None:
            loop(result, *bounds, *operands, *_room(name, result, bounds[1] - bounds[0]))

        self._threads.each(part, ranges(len(result), parts))


@lru_cache
def _loop(name: str, _weights: str = "") -> Loop:
    """Return a loop; it takes weights of one type, so that there is one for each."""
    return Loop("refruntime.numerics.ggml32.kernels", name)


def _room(name: str, result: Float32, rows: int) -> tuple[Any, ...]:
    """Return the arrays in which a loop works that computes so many rows of a result."""
    if name == "eight_lanes":
        return np.zeros(8, np.int32), np.zeros(8, np.float32)
    if name == "plain_dots_of_heads":
        return (np.empty(result.shape[1], np.float64),)
    return (np.empty(rows, np.float64),) if name == "plain_dots" else ()


def _minima(weights: IntegerBlocks) -> tuple[Float32, NDArray[np.int16]]:
    if weights.minima is None or weights.minimum_scales is None:
        return np.empty((0, 0), np.float32), np.empty((0, 0, 0), np.int16)
    return weights.minimum_scales, weights.minima


def _sums_of_groups(rows: Activations) -> NDArray[np.int16]:
    """Return the sums of 16 quants each, which one minimum multiplies: int16 [n, b, size / 16]."""
    sums: NDArray[np.int16] = rows.quants.reshape(*rows.quants.shape[:2], -1, GROUP).sum(axis=3, dtype=np.int16)
    return sums


def compile_kernels() -> None:
    """Compile every loop, or load its machine code, by one product of each form."""
    products = CompiledProducts(1)
    for ggml_type in GGML_TYPES.values():
        if ggml_type.name in FORMS:
            weights = take_apart(ggml_type, np.zeros((1, 512 // ggml_type.block_size * ggml_type.type_size), np.uint8))
            products.dot(weights, products.quantize(weights.form.activation, np.zeros((1, 512), np.float32)))
    products.plain(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
    products.plain_of_heads(np.zeros((1, 1, 1), np.float32), np.zeros((1, 1, 1), np.float32))
