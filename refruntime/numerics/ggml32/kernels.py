"""Compiled loops for ggml32: the sums of NumPy's definition in the same order, so the same bits, only faster.

Room to work in comes from the caller. No fast-math: the compiler may reorder sums of integers, which are exact, and no
others. The loops keep no state and hold no lock of Python, so threads may share the rows of a matrix.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from refruntime.quants.compiled.loops import inlined, kernel

ZERO: Final = np.float32(0)
ONE: Final = np.float32(1)
HALF: Final = np.float32(0.5)
INFINITY: Final = np.float32(np.inf)
LIMIT: Final = np.float32(127)
NEAREST: Final = np.float32(12582912)


@inlined
def exact_sum(w, q):  # type: ignore[no-untyped-def]
    """Add the products of a run of integers."""
    total = np.int32(0)
    for i in range(w.size):
        total += np.int32(w[i]) * np.int32(q[i])
    return total


@kernel
def sum_times_scales(result, begin, end, integers, scales, quants, row_scales):  # type: ignore[no-untyped-def]
    """Add (sum * scale) * row scale over blocks."""
    for row in range(begin, end):
        for n in range(quants.shape[0]):
            total = ZERO
            for b in range(scales.shape[1]):
                term = np.float32(exact_sum(integers[row, b], quants[n, b])) * scales[row, b]
                total += term * row_scales[n, b]
            result[row, n] = total


@kernel
def scales_times_sum(result, begin, end, integers, scales, quants, row_scales, repeat, unit):  # type: ignore[no-untyped-def]
    """Add (scale * row scale) * (sum / unit) over blocks; a row scale serves `repeat` blocks."""
    for row in range(begin, end):
        for n in range(quants.shape[0]):
            total = ZERO
            for b in range(scales.shape[1]):
                exact = np.float64(exact_sum(integers[row, b], quants[n, b])) / unit
                total += scales[row, b] * row_scales[n, b // repeat] * np.float32(exact)
            result[row, n] = total


@kernel
def plus_minimum(result, begin, end, integers, scales, minima, quants, row_scales, sums):  # type: ignore[no-untyped-def]
    """Add (scale * row scale) * sum + minimum * row sum over blocks."""
    for row in range(begin, end):
        for n in range(quants.shape[0]):
            total = ZERO
            for b in range(scales.shape[1]):
                term = scales[row, b] * row_scales[n, b] * np.float32(exact_sum(integers[row, b], quants[n, b]))
                total += term + minima[row, b] * sums[n, b]
            result[row, n] = total


@kernel
def less_minima(result, begin, end, integers, scales, minimum_scales, minima, quants, row_scales, sums):  # type: ignore[no-untyped-def]
    """Add (scale * row scale) * sum - (minimum scale * row scale) * (sum of minima) over blocks."""
    for row in range(begin, end):
        for n in range(quants.shape[0]):
            total = ZERO
            for b in range(scales.shape[1]):
                term = scales[row, b] * row_scales[n, b] * np.float32(exact_sum(integers[row, b], quants[n, b]))
                less = minimum_scales[row, b] * row_scales[n, b] * np.float32(exact_sum(minima[row, b], sums[n, b]))
                total += term - less
            result[row, n] = total


@inlined
def _lanes(lanes, w, q):  # type: ignore[no-untyped-def]
    """Set the sums of numbers i, i + 8, ... of a block, i from 0 to 7."""
    lanes[:] = 0
    for start in range(0, w.size, 8):
        for lane in range(8):
            lanes[lane] += np.int32(w[start + lane]) * np.int32(q[start + lane])


@kernel
def eight_lanes(result, begin, end, integers, scales, minimum_scales, minima, quants, row_scales, sums, exact, totals):  # type: ignore[no-untyped-def]
    """Add (scale * row scale) * sum in eight lanes; less minima, of which there may be none; then lane after lane."""
    for row in range(begin, end):
        for n in range(quants.shape[0]):
            totals[:] = 0
            total = ZERO
            for b in range(scales.shape[1]):
                _lanes(exact, integers[row, b], quants[n, b])
                scale = scales[row, b] * row_scales[n, b]
                for lane in range(8):
                    totals[lane] += scale * np.float32(exact[lane])
                if minima.size:
                    less = minimum_scales[row, b] * row_scales[n, b]
                    total -= less * np.float32(exact_sum(minima[row, b], sums[n, b]))
            for lane in range(8):
                total += totals[lane]
            result[row, n] = total


@kernel
def groups_with_scales(result, begin, end, integers, scales, group_scales, quants, row_scales):  # type: ignore[no-untyped-def]
    """Add ((scale * row scale) * group scale) * sum over groups."""
    groups = group_scales.shape[2]
    size = integers.shape[2] // groups
    for row in range(begin, end):
        for n in range(quants.shape[0]):
            total = ZERO
            for b in range(scales.shape[1]):
                scale = scales[row, b] * row_scales[n, b]
                for g in range(groups):
                    at = g * size
                    exact = exact_sum(integers[row, b, at : at + size], quants[n, b, at : at + size])
                    total += scale * np.float32(group_scales[row, b, g]) * np.float32(exact)
            result[row, n] = total


@kernel
def parts_of_a_block(result, begin, end, integers, scales, quants, row_scales):  # type: ignore[no-untyped-def]
    """Add row scale * sum over the short blocks of a row within each long block, then times the scale of that one."""
    size = quants.shape[2]
    parts = integers.shape[2] // size
    for row in range(begin, end):
        for n in range(quants.shape[0]):
            total = ZERO
            for b in range(scales.shape[1]):
                within = ZERO
                for part in range(parts):
                    exact = exact_sum(integers[row, b, part * size : (part + 1) * size], quants[n, b * parts + part])
                    within += row_scales[n, b * parts + part] * np.float32(exact)
                total += scales[row, b] * within
            result[row, n] = total


@kernel
def plain_dots(result, begin, end, columns, rows, totals):  # type: ignore[no-untyped-def]
    """Multiply columns [in, out] with rows [n, in]; products in float32 are added in float64."""
    for n in range(rows.shape[0]):
        totals[:] = 0
        for column in range(columns.shape[0]):
            w, x = columns[column, begin:end], rows[n, column]
            for o in range(totals.size):
                totals[o] += np.float64(w[o] * x)
        for o in range(totals.size):
            result[begin + o, n] = np.float32(totals[o])


@kernel
def plain_dots_of_heads(result, begin, end, columns, rows, totals):  # type: ignore[no-untyped-def]
    """Multiply columns [K, in, out] with rows [K, n, in] head by head: products in float32 are added in float64."""
    for head in range(begin, end):
        for n in range(rows.shape[1]):
            totals[:] = 0
            for column in range(columns.shape[1]):
                w, x = columns[head, column], rows[head, n, column]
                for o in range(totals.size):
                    totals[o] += np.float64(w[o] * x)
            for o in range(totals.size):
                result[head, o, n] = np.float32(totals[o])


@inlined
def quantize_block(x, quants):  # type: ignore[no-untyped-def]
    """Quantise a block of 32, halves away from zero: -> its scale, not yet rounded to a half."""
    greatest = ZERO
    for i in range(32):
        greatest = max(greatest, abs(x[i]))
    scale = greatest / LIMIT
    inverse = ONE / scale if scale != ZERO else ZERO
    for i in range(32):
        scaled = x[i] * inverse
        whole = np.trunc(scaled)
        if abs(scaled - whole) >= HALF:
            whole += ONE if scaled > ZERO else -ONE
        quants[i] = np.int8(np.int32(whole)) if abs(whole) < INFINITY else 0
    return scale


@kernel
def quantize_32(x, quants, scales):  # type: ignore[no-untyped-def]
    """Quantise blocks of 32, x [n, b, 32]: halves away from zero; scales are not yet rounded to halves."""
    for n in range(x.shape[0]):
        for b in range(x.shape[1]):
            scales[n, b] = quantize_block(x[n, b], quants[n, b])


@kernel
def quantize_256(x, quants, scales):  # type: ignore[no-untyped-def]
    """Quantise blocks of 256, x [n, b, 256]: the largest becomes -127, halves to even."""
    for n in range(x.shape[0]):
        for b in range(x.shape[1]):
            greatest, first = ZERO, ZERO
            for i in range(256):
                if abs(x[n, b, i]) > greatest:
                    greatest, first = abs(x[n, b, i]), x[n, b, i]
            if greatest == ZERO:
                scales[n, b] = ZERO
                quants[n, b] = 0
                continue
            inverse = -LIMIT / first
            scales[n, b] = ONE / inverse
            for i in range(256):
                whole = (inverse * x[n, b, i] + NEAREST) - NEAREST
                quants[n, b, i] = min(np.int32(whole), 127) if abs(whole) < INFINITY else 0
