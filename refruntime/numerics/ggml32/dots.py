"""Multiply integer blocks with quantised rows in the order of ggml's generic dots.

Sums of integers are exact whatever their order, so they are taken in float64. What is rounded, to float32 and from left
to right, are the products with scales and the sums over blocks, which run in index order from 0.0.
Dimension letters: r weight rows, n positions, b blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.numerics.base import add_rows
from refruntime.numerics.ggml32.activations import Activations, quantize_q8_0
from refruntime.numerics.ggml32.blocks import FORMS, IntegerBlocks

Float32 = NDArray[np.float32]
Array = NDArray[Any]

GROUP: Final = 16  # quants whose sum multiplies one minimum
LANES: Final = 8


def dot(weights: IntegerBlocks, rows: Activations) -> Float32:
    """Return every dot of weight rows and quantised rows: -> [r, n]."""
    result = ORDERS[weights.form.order](weights, rows)
    unit = weights.form.unit
    return result if unit == 1 or weights.form.unit_inside else result * np.float32(1 / unit)


def _scales_times_sum(weights: IntegerBlocks, rows: Activations) -> Float32:
    quants, scales = _in_blocks_of(weights.integers.shape[2], rows)
    sums = _exact_sums(weights.integers, quants)  # [b, r, n]
    if weights.form.unit_inside:
        sums = sums / weights.form.unit
    return _total(_products(weights.scales, scales) * sums.astype(np.float32))


def _in_blocks_of(size: int, rows: Activations) -> tuple[NDArray[np.int8], Float32]:
    """Return quants [n, b, size] and scales [n, b], those of a longer block repeated."""
    quants = rows.quants.reshape(len(rows.quants), -1, size)
    return quants, np.repeat(rows.scales, quants.shape[1] // rows.scales.shape[1], axis=1)


def _sum_times_scales(weights: IntegerBlocks, rows: Activations) -> Float32:
    sums = _exact_sums(weights.integers, rows.quants).astype(np.float32)  # [b, r, n]
    return _total(sums * _columns(weights.scales) * _rows(rows.scales))


def _plus_minimum(weights: IntegerBlocks, rows: Activations) -> Float32:
    sums = _exact_sums(weights.integers, rows.quants).astype(np.float32)
    minima = _products(_given(weights.minimum_scales), rows.sums)
    return _total(_products(weights.scales, rows.scales) * sums + minima)


def _less_minima(weights: IntegerBlocks, rows: Activations) -> Float32:
    sums = _exact_sums(weights.integers, rows.quants).astype(np.float32)
    return _total(_products(weights.scales, rows.scales) * sums - _minima(weights, rows))


def _lanes(weights: IntegerBlocks, rows: Activations) -> Float32:
    return _lane_sums(weights, rows, np.float32(0))


def _lanes_less_minima(weights: IntegerBlocks, rows: Activations) -> Float32:
    return _lane_sums(weights, rows, _total(-_minima(weights, rows)))


def _lane_sums(weights: IntegerBlocks, rows: Activations, start: Array | np.float32) -> Float32:
    """Add numbers i, i + 8, .. of all blocks in eight lanes, then the lanes in order to `start`."""
    scales = _products(weights.scales, rows.scales)  # [b, r, n]
    total = start
    for lane in range(LANES):
        sums = _exact_sums(weights.integers[:, :, lane::LANES], rows.quants[:, :, lane::LANES])
        total = total + _total(scales * sums.astype(np.float32))
    return np.asarray(total, np.float32)


def _groups_with_scales(weights: IntegerBlocks, rows: Activations) -> Float32:
    """Multiply the product of the scales with the scale of each group first."""
    group_scales = _given(weights.group_scales)  # [r, b, groups]
    out, blocks, groups = group_scales.shape
    size = weights.integers.shape[2] // groups
    quants = rows.quants.reshape(len(rows.quants), blocks * groups, size)
    sums = _exact_sums(weights.integers.reshape(out, blocks * groups, size), quants)
    scales = np.repeat(_products(weights.scales, rows.scales), groups, axis=0)  # [b * groups, r, n]
    own = _columns(group_scales.reshape(out, -1).astype(np.float32))  # [b * groups, r, 1]
    return _total(scales * own * sums.astype(np.float32))


def _parts_of_a_block(weights: IntegerBlocks, rows: Activations) -> Float32:
    """Add what the short blocks of the row give within a long block, then times the scale of that one."""
    out, blocks, size = weights.integers.shape
    parts = size // rows.quants.shape[2]
    sums = _exact_sums(weights.integers.reshape(out, blocks * parts, -1), rows.quants).astype(np.float32)
    terms = (_rows(rows.scales) * sums).reshape(blocks, parts, out, -1)
    within = np.stack([_total(block) for block in terms])  # [b, r, n]
    return _total(_columns(weights.scales) * within)


def _minima(weights: IntegerBlocks, rows: Activations) -> Float32:
    """Return (minimum scale * scale) * (sum of minimum * quants): [b, r, n]."""
    sums = rows.quants.reshape(*rows.quants.shape[:2], -1, GROUP).sum(axis=3, dtype=np.int32)
    exact = _exact_sums(_given(weights.minima), sums).astype(np.float32)
    return _products(_given(weights.minimum_scales), rows.scales) * exact


def _exact_sums(integers: Array, quants: Array) -> NDArray[np.float64]:
    """Return the sums of integer products of each block: [r, b, size], [n, b, size] -> [b, r, n]."""
    result: NDArray[np.float64] = integers.transpose(1, 0, 2).astype(np.float64) @ quants.transpose(1, 2, 0).astype(
        np.float64
    )
    return result


def _products(scales: Float32, row_scales: Float32) -> Float32:
    """Multiply scales: [r, b], [n, b] -> [b, r, n]."""
    return _columns(scales) * _rows(row_scales)


def _columns(scales: Float32) -> Float32:
    return scales.T[:, :, None]  # [b, r, 1]


def _rows(scales: Float32) -> Float32:
    return scales.T[:, None, :]  # [b, 1, n]


def _total(terms: Float32) -> Float32:
    """Add over the first axis in index order from 0.0: [b, r, n] -> [r, n]."""
    result: Float32 = add_rows(np.ascontiguousarray(terms).reshape(len(terms), -1)).reshape(terms.shape[1:])
    return result + np.float32(0)  # a sum from +0.0 is never -0.0


def _given(part: Array | None) -> Array:
    if part is None:
        raise ValueError("this type has minima or scales of groups, and none were taken from its blocks")
    return part


ORDERS: Final[dict[str, Callable[[IntegerBlocks, Activations], Float32]]] = {
    "scales times sum": _scales_times_sum,
    "sum times scales": _sum_times_scales,
    "scales times sum, plus minimum": _plus_minimum,
    "scales times sum, less minima": _less_minima,
    "eight lanes": _lanes,
    "eight lanes, less minima": _lanes_less_minima,
    "groups with scales": _groups_with_scales,
    "parts of a block": _parts_of_a_block,
}


def dot_in_float64(values: Float32, rows: Float32) -> Float32:
    """Return every dot of plain numbers: products rounded to float32, added in float64 in index order: -> [r, n].

    values [r, columns], rows [n, columns].
    """
    columns, inputs = np.ascontiguousarray(values.T), np.ascontiguousarray(rows.T)  # [columns, r], [columns, n]
    total = np.zeros((values.shape[0], rows.shape[0]), np.float64)
    step = max(1, PRODUCTS // max(1, total.size))
    for start in range(0, len(columns), step):
        products = columns[start : start + step, :, None] * inputs[start : start + step, None, :]
        terms = np.concatenate([total[None], products.astype(np.float64)])
        total = add_rows(terms.reshape(len(terms), -1)).reshape(total.shape)
    return total.astype(np.float32)


def dot_of_decoded_blocks(values: Float32, rows: Float32) -> Float32:
    """Return every dot of decoded Q8_0 blocks, such as keys of a cache, with rows that are quantised for it: -> [r, n].

    values [r, columns], rows [n, columns]. The largest quant of a block is 127, which gives back its scale.
    """
    blocks = values.reshape(len(values), -1, 32)
    scales = np.abs(blocks).max(axis=2) / np.float32(127)  # [r, b]
    quants = np.rint(blocks / np.where(scales == 0, np.float32(1), scales)[:, :, None]).astype(np.int8)
    return dot(IntegerBlocks(FORMS["q8_0"], quants, scales), quantize_q8_0(np.ascontiguousarray(rows)))


def dot_in_float32(values: Float32, rows: Float32) -> Float32:
    """Return every dot of plain numbers with products and sums rounded to float32, in index order from 0.0: -> [r, n].

    values [r, columns], rows [n, columns].
    """
    total = np.zeros((len(values), len(rows)), np.float32)
    for column, numbers in zip(values.T, rows.T, strict=True):
        total = total + column[:, None] * numbers
    return total


PRODUCTS: Final = 1 << 17


def of_heads(dots: Callable[[Float32, Float32], Float32], rows: Float32, x: Float32) -> Float32:
    """Multiply [K, r, k] with [K, n, k] head by head: -> [K, r, n]."""
    return np.stack([dots(*pair) for pair in zip(rows, x, strict=True)])


def exact_total(rows: Any) -> NDArray[np.float64]:
    """Add numbers of rows in float64 in index order: [n, k] -> [n]."""
    return add_rows(np.ascontiguousarray(rows.T, np.float64)) + np.float64(0)
