"""Compiled loops for seq32: the additions of NumPy's definition in the same order, so the same bits, only faster.

No fast-math (but in `dots`), so the compiler may neither reorder a sum nor fuse a product into it. What runs at one
time is different outputs and different positions, each with a sum of its own. The loops hold no lock of Python and keep
no state, so any number of threads may call them.

Arrays come flat, with the start and the stride of their rows in elements: this way a part of a cache or of a result is
still a run of neighbouring numbers, which is what the compiler needs to use the vector unit.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from refruntime.numerics.libm.exponential import (
    EXP_LINEAR_LIMIT,
    EXP_LN2_HIGH,
    EXP_LN2_LOW,
    EXP_OVERFLOW,
    EXP_P1,
    EXP_P2,
    EXP_UNDERFLOW,
    EXPM1_LN2_HIGH,
    EXPM1_LN2_LOW,
    EXPM1_Q1,
    EXPM1_Q2,
    HALF,
    INVERSE_LN2,
    ONE,
    QUARTER,
    TANH_HALF_LN_3,
    TANH_HALF_LN_5_3,
    TANH_SATURATION,
    TWO,
)
from refruntime.quants.compiled.loops import inlined, kernel

TILE_WIDTH: Final = 2048  # outputs of one tile: its running sums stay in the first-level cache
TILE_COLUMNS: Final = 16  # columns of one tile: its weights stay in the second-level cache for all positions
ZERO: Final = np.float32(0)
THREE: Final = np.float32(3)
SIX: Final = np.float32(6)
INFINITY: Final = np.float32(np.inf)


@inlined
def _four_by_four(y0, y1, y2, y3, w0, w1, w2, w3, x, at, stride):  # type: ignore[no-untyped-def]
    """Add the products of four columns w to the sums y of four positions, column after column."""
    a0, a1, a2, a3 = x[at], x[at + 1], x[at + 2], x[at + 3]
    at += stride
    b0, b1, b2, b3 = x[at], x[at + 1], x[at + 2], x[at + 3]
    at += stride
    c0, c1, c2, c3 = x[at], x[at + 1], x[at + 2], x[at + 3]
    at += stride
    d0, d1, d2, d3 = x[at], x[at + 1], x[at + 2], x[at + 3]
    for o in range(w0.size):
        y0[o] = (((y0[o] + w0[o] * a0) + w1[o] * a1) + w2[o] * a2) + w3[o] * a3
        y1[o] = (((y1[o] + w0[o] * b0) + w1[o] * b1) + w2[o] * b2) + w3[o] * b3
        y2[o] = (((y2[o] + w0[o] * c0) + w1[o] * c1) + w2[o] * c2) + w3[o] * c3
        y3[o] = (((y3[o] + w0[o] * d0) + w1[o] * d1) + w2[o] * d2) + w3[o] * d3


@inlined
def _four_by_one(y, w0, w1, w2, w3, x, at):  # type: ignore[no-untyped-def]
    """Add the products of four columns w to the sums y of one position, column after column."""
    x0, x1, x2, x3 = x[at], x[at + 1], x[at + 2], x[at + 3]
    for o in range(w0.size):
        y[o] = (((y[o] + w0[o] * x0) + w1[o] * x1) + w2[o] * x2) + w3[o] * x3


@inlined
def _one_by_one(y, w, x):  # type: ignore[no-untyped-def]
    """Add the products of one column w to the sums y of one position."""
    for o in range(w.size):
        y[o] = y[o] + w[o] * x


@inlined
def _accumulate(y, y_at, y_stride, w, w_at, w_stride, x, x_at, x_stride, rows, columns, width):  # type: ignore[no-untyped-def]
    """Add to y[r, o] the products w[c, o] * x[r, c] for c = 0, 1, ...: y [rows, width], w [columns, width]."""
    row = 0
    while row < rows:
        together = 4 if row + 4 <= rows else 1
        y0, x0 = y_at + row * y_stride, x_at + row * x_stride
        y1, y2, y3 = y0 + y_stride, y0 + 2 * y_stride, y0 + 3 * y_stride
        column, w0 = 0, w_at
        while column + 4 <= columns:
            w1, w2, w3 = w0 + w_stride, w0 + 2 * w_stride, w0 + 3 * w_stride
            if together == 4:
                _four_by_four(
                    y[y0 : y0 + width], y[y1 : y1 + width], y[y2 : y2 + width], y[y3 : y3 + width],
                    w[w0 : w0 + width], w[w1 : w1 + width], w[w2 : w2 + width], w[w3 : w3 + width],
                    x, x0 + column, x_stride,
                )  # fmt: skip
            else:
                _four_by_one(
                    y[y0 : y0 + width],
                    w[w0 : w0 + width], w[w1 : w1 + width], w[w2 : w2 + width], w[w3 : w3 + width],
                    x, x0 + column,
                )  # fmt: skip
            column, w0 = column + 4, w0 + 4 * w_stride
        while column < columns:
            for other in range(together):
                begin = y0 + other * y_stride
                _one_by_one(y[begin : begin + width], w[w0 : w0 + width], x[x0 + other * x_stride + column])
            column, w0 = column + 1, w0 + w_stride
        row += together


@kernel
def project(y, w, x, rows, columns, outputs, begin, end):  # type: ignore[no-untyped-def]
    """Fill y[:, begin:end] of y [rows, outputs] with sums over w [columns, outputs] times x [rows, columns] (FW-4)."""
    for first in range(begin, end, TILE_WIDTH):
        width = min(TILE_WIDTH, end - first)
        for row in range(rows):
            y[row * outputs + first : row * outputs + first + width] = ZERO
        for column in range(0, columns, TILE_COLUMNS):
            count = min(TILE_COLUMNS, columns - column)
            _accumulate(y, first, outputs, w, column * outputs + first, outputs, x, column, columns, rows, count, width)


@inlined
def expf(x):  # type: ignore[no-untyped-def]
    """Return expf: the operations of `libm.expf`, one number at a time (FW-8)."""
    inside = EXP_UNDERFLOW < x < EXP_OVERFLOW
    safe = x if inside else ONE
    power = np.int32(INVERSE_LN2 * safe + (HALF if safe >= ZERO else -HALF))
    power_float = np.float32(power)
    high = safe - power_float * EXP_LN2_HIGH
    low = power_float * EXP_LN2_LOW
    reduced = high - low
    square = reduced * reduced
    c = reduced - square * (EXP_P1 + square * EXP_P2)
    exponential = ONE + (reduced * c / (TWO - c) - low + high)
    half = power >> np.int32(1)
    scaled = exponential * _power_of_two(half) * _power_of_two(power - half)
    result = ONE + safe if np.abs(safe) <= EXP_LINEAR_LIMIT else scaled
    outside = INFINITY if x > ONE else ZERO
    outside = outside if x == x else x  # not a number
    return result if inside else outside


@inlined
def _power_of_two(exponent):  # type: ignore[no-untyped-def]
    """Return 2**exponent for exponents in [-126, 127]."""
    return np.int32((exponent + np.int32(127)) << np.int32(23)).view(np.float32)


@inlined
def _expm1f(x):  # type: ignore[no-untyped-def]
    """Return e**x - 1 for the arguments that tanhf has: the operations of `libm.exponential`, one number at a time."""
    power = np.int32(INVERSE_LN2 * x + (HALF if x >= ZERO else -HALF))
    power_float = np.float32(power)
    high = x - power_float * EXPM1_LN2_HIGH
    low = power_float * EXPM1_LN2_LOW
    reduced = high - low
    correction = (high - reduced) - low
    half = HALF * reduced
    half_square = reduced * half
    r1 = ONE + half_square * (EXPM1_Q1 + half_square * EXPM1_Q2)
    t = THREE - r1 * half
    error = half_square * ((r1 - t) / (SIX - reduced * t))
    if power == 0:
        return reduced - (reduced * error - half_square)
    error = reduced * (error - correction) - correction
    error = error - half_square
    if power == -1:
        return HALF * (reduced - error) - HALF
    if power == 1:
        return -TWO * (error - (reduced + HALF)) if reduced < -QUARTER else ONE + TWO * (reduced - error)
    inverse_scale = _power_of_two(-power)
    if power < 23:
        return ((reduced - error) + (ONE - inverse_scale)) * _power_of_two(power)
    return (reduced - (error + inverse_scale) + ONE) * _power_of_two(power)


@inlined
def _tanhf(x):  # type: ignore[no-untyped-def]
    """Return tanhf: the operations of `libm.tanhf`, one number at a time (FW-8)."""
    magnitude = np.abs(x)
    if not magnitude <= TANH_SATURATION:
        result = ONE + ZERO / magnitude  # not a number stays one
    elif magnitude > TANH_HALF_LN_3:
        result = ONE - TWO / (_expm1f(TWO * magnitude) + TWO)
    elif magnitude > TANH_HALF_LN_5_3:
        t = _expm1f(TWO * magnitude)
        result = t / (t + TWO)
    else:
        t = _expm1f(-TWO * magnitude)
        result = -t / (t + TWO)
    return np.copysign(result, x)


@kernel
def hyperbolic_tangent(y, x):  # type: ignore[no-untyped-def]
    """Fill y [n] with tanhf(x)."""
    for i in range(x.size):
        y[i] = _tanhf(x[i])


@kernel
def exponential(y, x):  # type: ignore[no-untyped-def]
    """Fill y [n] with expf(x)."""
    for i in range(x.size):
        y[i] = expf(x[i])


@kernel
def rotate(y, x, cosines, sines, heads, half):  # type: ignore[no-untyped-def]
    """Fill y [n, heads, D] with the pairs of x turned by the angles of its positions [n, D / 2] (FW-5)."""
    for begin in range(0, x.size, 2 * half):
        angles = begin // (2 * half * heads) * half
        for pair in range(half):
            first, second = x[begin + 2 * pair], x[begin + 2 * pair + 1]
            cosine, sine = cosines[angles + pair], sines[angles + pair]
            y[begin + 2 * pair] = first * cosine - second * sine
            y[begin + 2 * pair + 1] = first * sine + second * cosine


@kernel
def silu(y, x):  # type: ignore[no-untyped-def]
    """Fill y [n] with x / (1 + expf(-x)) (FW-7)."""
    for i in range(x.size):
        y[i] = x[i] / (ONE + expf(-x[i]))


@kernel
def rms_norm(y, x, weight, epsilon):  # type: ignore[no-untyped-def]
    """Fill y [n, H] with x * inv * weight, left to right; x [n, H], weight [H] (FW-3)."""
    size = weight.size
    for begin in range(0, x.size, size):
        total = ZERO
        for i in range(begin, begin + size):
            total += x[i] * x[i]
        inverse = ONE / np.sqrt(total / np.float32(size) + epsilon)
        for i in range(size):
            y[begin + i] = x[begin + i] * inverse * weight[i]


@kernel
def attention(  # type: ignore[no-untyped-def]
    mixed,
    scores,
    weights,
    queries,
    keys,
    key_strides,
    values,
    value_strides,
    sinks,
    scale,
    cap,
    window,
    shape,
    begin,
    end,
):
    """Attend causally with the query heads begin .. end - 1 (FW-6, GG-8, GG-11).

    mixed, queries [n, A, D]; scores, weights [A, n, T]; keys [D, K, T] and values [T, K, D] with the strides of their
    first two axes in elements; shape = (n, A, D, K, T). Row r sees t = 0 .. T - n + r, the last `window` of these; with
    a window of T it sees all. A cap of 0 is none; sinks [A] take a share of the weights, an empty array has none.
    """
    n, heads, head_dim, kv_heads, visible = shape
    group = heads // kv_heads
    position = visible - n
    stride = heads * head_dim
    for head in range(begin, end):
        keys_at = (head // group) * key_strides[1]
        values_at = (head // group) * value_strides[1]
        for row in range(0, n, 4):
            rows = min(4, n - row)
            first = (head * n + row) * visible
            query = row * stride + head * head_dim
            sight = position + row + rows
            oldest = max(0, position + row + 1 - window)  # what the first row sees begins here
            scores[first : first + rows * visible] = ZERO
            _accumulate(
                scores, first + oldest, visible, keys, keys_at + oldest, key_strides[0],
                queries, query, stride, rows, head_dim, sight - oldest,
            )  # fmt: skip
            for other in range(rows):
                at, own = first + other * visible, position + row + other
                begin_of_row = max(0, own + 1 - window)
                sink = sinks[head] if sinks.size else -INFINITY
                own_scores, own_weights = scores[at : at + visible], weights[at : at + visible]
                _softmax(own_scores, own_weights, begin_of_row, own + 1, scale, cap, sink, sinks.size > 0)
            # A row sees one position more than the row before and, with a window, one less at the other end: what all
            # rows see is added for all at once, what lies before and behind that for each row alone, in this order.
            shared = max(0, position + row + rows - window)
            behind = max(shared, position + row + 1)
            for other in range(rows):
                at, own = first + other * visible, position + row + other
                begin_of_row = max(0, own + 1 - window)
                mixed[query + other * stride : query + other * stride + head_dim] = ZERO
                _accumulate(
                    mixed, query + other * stride, stride,
                    values, values_at + begin_of_row * value_strides[0], value_strides[0],
                    weights, at + begin_of_row, visible, 1, min(shared, own + 1) - begin_of_row, head_dim,
                )  # fmt: skip
            if behind > shared:
                _accumulate(
                    mixed, query, stride, values, values_at + shared * value_strides[0], value_strides[0],
                    weights, first + shared, visible, rows, behind - shared, head_dim,
                )  # fmt: skip
            for other in range(rows):
                at, left = first + other * visible, position + row + other + 1 - behind
                _accumulate(
                    mixed, query + other * stride, stride,
                    values, values_at + behind * value_strides[0], value_strides[0],
                    weights, at + behind, visible, 1, left, head_dim,
                )  # fmt: skip


@inlined
def _softmax(scores, weights, first, end, scale, cap, sink, sinks):  # type: ignore[no-untyped-def]
    """Scale and cap the scores [T] and normalise them: subtract maximum, expf, sum in order, divide.

    Seen is first .. end - 1; the rest is masked. A sink counts for the maximum and is added behind everything else.
    """
    maximum = -INFINITY
    for t in range(first, end):
        scores[t] = scores[t] * scale
    if cap != ZERO:
        for t in range(first, end):
            scores[t] = cap * _tanhf(scores[t] / cap)
    for t in range(first, end):
        maximum = scores[t] if scores[t] > maximum else maximum
    maximum = sink if sink > maximum else maximum
    for t in range(first, end):
        weights[t] = expf(scores[t] - maximum)
    total = ZERO
    for t in range(first, end):
        total += weights[t]
    if sinks:
        total += expf(sink - maximum)
    for t in range(first, end):
        weights[t] = weights[t] / total
    scores[:first] = -INFINITY
    weights[:first] = ZERO
    scores[end:] = -INFINITY
    weights[end:] = ZERO


def _dots(result, matrix, x, begin, end):  # type: ignore[no-untyped-def]
    """Set result[r] to the dot product of row r with x, in any order, for r = `begin` .. `end` - 1."""
    for row in range(begin, end):
        total = ZERO
        for column in range(x.size):
            total += matrix[row, column] * x[column]
        result[row] = total


dots: Final = kernel(_dots, fastmath=True)
"""For `fast` alone."""
