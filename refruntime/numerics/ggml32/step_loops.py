"""One compiled loop for all operations of a position, so that Python asks once: the bits of NumPy's definition.

A program is rows of numbers, as `step_operations` says. `numbers` are weights and scales in float32, `integers` those
of blocks, `room` what is computed: the residual stream, then whatever comes of it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from refruntime.numerics.ggml32.kernels import INFINITY, ONE, ZERO, exact_sum, quantize_block
from refruntime.numerics.ggml32.step_operations import (
    ADD,
    ATTEND,
    NORM,
    PLAIN,
    QUANTIZE,
    ROTATE,
    SCALES_FIRST,
    SILU,
    STORE,
    SUM_SCALED,
    TO_BFLOAT,
    TO_HALF,
)
from refruntime.numerics.varied.elementary import EXP_CUBIC, EXP_SCALE, EXP_TABLE
from refruntime.quants.compiled.loops import inlined, kernel

C0, C1, C2 = EXP_CUBIC
MAGIC: Final = 1.5 * 2.0**52  # added and taken away, it leaves the nearest integer
OVERFLOW, UNDERFLOW = np.float32(88.72284), np.float32(-103.97208)
SMALLEST_NORMAL_HALF: Final = np.float32(2.0**-14)
HALF_OVERFLOW: Final = np.float32(65520)
HALF: Final = np.float32(0.5)


@inlined
def exponential(x):  # type: ignore[no-untyped-def]
    """Return expf of the C library: a table of 32 powers of two and a cubic, in float64."""
    if x != x:
        return x
    if x > OVERFLOW:
        return INFINITY
    if x < UNDERFLOW:
        return ZERO
    z = EXP_SCALE * np.float64(x)
    whole = (z + MAGIC) - MAGIC
    r, k = z - whole, np.int64(whole)
    scale = np.int64(EXP_TABLE[k & 31] + (k << 47)).view(np.float64)
    return np.float32(((C0 * r + C1) * (r * r) + (C2 * r + 1)) * scale)


@inlined
def to_half(x):  # type: ignore[no-untyped-def]
    """Round to half precision and widen again, halves to even."""
    magnitude = abs(x)
    if magnitude < SMALLEST_NORMAL_HALF:
        return np.copysign(
            (magnitude + HALF) - HALF, x
        )  # what is below 1 / 2 has steps as those of the smallest halves
    bits = np.float32(x).view(np.int32)
    if magnitude < HALF_OVERFLOW:
        return np.int32((bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF).view(np.float32)
    return np.copysign(INFINITY, x) if x == x else np.int32(bits & ~0x1FFF).view(np.float32)


@inlined
def to_bfloat(x):  # type: ignore[no-untyped-def]
    """Round to bfloat16 and widen again, halves to even."""
    bits = np.float32(x).view(np.int32)
    if x != x:
        return np.int32((bits & ~0xFFFF) | 0x400000).view(np.float32)
    return np.int32((bits + 0x7FFF + ((bits >> 16) & 1)) & ~0xFFFF).view(np.float32)


@inlined
def _norm(y, x, weight, epsilon):  # type: ignore[no-untyped-def]
    """Set y to x / sqrt(mean of squares + epsilon) * weight; the squares are added in float64."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i] * x[i])
    inverse = ONE / np.sqrt(np.float32(total / x.size) + epsilon)
    for i in range(x.size):
        y[i] = x[i] * inverse * weight[i]


@inlined
def _attend(mixed, q, keys, values, totals, weights, scale, halves):  # type: ignore[no-untyped-def]
    """Set mixed [A * D] of q [A * D], keys [D, K, P], values [P, K, D]; seen is as much as there are weights [T].

    `totals` has room for T and for D numbers.
    """
    kv_heads, head_dim, visible = keys.shape[1], keys.shape[0], weights.size
    group = q.size // head_dim // kv_heads
    for head in range(q.size // head_dim):
        kv = head // group
        own = q[head * head_dim : (head + 1) * head_dim]
        dots = totals[:visible]
        dots[:] = 0
        for d in range(head_dim):
            x, row = own[d], keys[d, kv, :visible]
            if halves:
                x = to_half(x)
            for t in range(visible):
                dots[t] += np.float64(row[t] * x)
        maximum = -INFINITY
        for t in range(visible):
            score = np.float32(dots[t]) * scale
            weights[t] = score
            if score > maximum or score != score:
                maximum = score
        total = 0.0
        for t in range(visible):
            weights[t] = exponential(weights[t] - maximum)
            total += np.float64(weights[t])
        inverse = np.float32(1.0 / total)
        sums = totals[:head_dim]
        sums[:] = 0
        for t in range(visible):
            weight, row = weights[t] * inverse, values[t, kv]
            if halves:
                weight = to_half(weight)
            for d in range(head_dim):
                sums[d] += np.float64(row[d] * weight)
        for d in range(head_dim):
            mixed[head * head_dim + d] = np.float32(sums[d])


@inlined
def _multiply(op, y, blocks, weights, scales, minima, quants, row_scales, sums, repeat):  # type: ignore[no-untyped-def]
    """Set y to the dots of rows of blocks [rows, blocks, size] with one quantised row, as `kernels` does."""
    size = quants.size // blocks
    for row in range(y.size):
        total = ZERO
        for b in range(blocks):
            at = row * blocks + b
            exact = np.float32(exact_sum(weights[at * size : (at + 1) * size], quants[b * size : (b + 1) * size]))
            if op == SUM_SCALED:
                term = exact * scales[at]
                total += term * row_scales[b]
            elif op == SCALES_FIRST:
                total += scales[at] * row_scales[b // repeat] * exact
            else:
                term = scales[at] * row_scales[b] * exact
                total += term + minima[at] * sums[b]
        y[row] = total


@inlined
def _plain(y, x, columns, totals):  # type: ignore[no-untyped-def]
    """Set y [out] to products of columns [in * out] with x [in], which are added in float64."""
    sums = totals[: y.size]
    sums[:] = 0
    for column in range(x.size):
        w, factor = columns[column * y.size : (column + 1) * y.size], x[column]
        for o in range(y.size):
            sums[o] += np.float64(w[o] * factor)
    for o in range(y.size):
        y[o] = np.float32(sums[o])


@kernel
def run(  # type: ignore[no-untyped-def]
    program, integers, numbers, keys, values, cosines, sines, room, quants, row_scales, sums, totals, weights,
    epsilon, scale, position, halves,
):  # fmt: skip
    """Run a program for one position: keys [L, D, K, P], values [L, P, K, D], weights [T], angles [D / 2]."""
    head_dim = keys.shape[1]
    for line in range(program.shape[0]):
        op, y, x, n = program[line, 0], program[line, 1], program[line, 2], program[line, 3]
        a, b, c, m, size = program[line, 4], program[line, 5], program[line, 6], program[line, 7], program[line, 8]
        if op == NORM:
            _norm(room[y : y + n], room[x : x + n], numbers[a : a + n], epsilon)
        elif op == ADD:
            for i in range(n):
                room[y + i] = room[y + i] + room[x + i]
        elif op == SILU:
            gate, up = room[x : x + n], room[a : a + n]
            for i in range(n):
                room[y + i] = gate[i] / (ONE + exponential(-gate[i])) * up[i]
        elif op == ROTATE:
            for i in range(0, n, 2):
                pair = i % head_dim // 2
                first, second = room[y + i], room[y + i + 1]
                room[y + i] = first * cosines[pair] - second * sines[pair]
                room[y + i + 1] = first * sines[pair] + second * cosines[pair]
        elif op == STORE:
            for i in range(n):
                key, value = room[x + i], room[a + i]
                keys[y, i % head_dim, i // head_dim, position] = to_half(key) if halves else key
                values[y, position, i // head_dim, i % head_dim] = to_half(value) if halves else value
        elif op == ATTEND:
            _attend(room[y : y + n], room[x : x + n], keys[a], values[a], totals, weights, scale, halves)
        elif op == QUANTIZE:
            for block in range(n // 32):
                own = quants[block * 32 : block * 32 + 32]
                exact = quantize_block(room[x + block * 32 : x + block * 32 + 32], own)
                total = np.int32(0)
                for i in range(32):
                    total += np.int32(own[i])
                row_scales[block] = to_half(exact)
                sums[block] = to_half(np.float32(total) * exact)
        elif op == TO_HALF:
            for i in range(n):
                room[y + i] = to_half(room[x + i])
        elif op == TO_BFLOAT:
            for i in range(n):
                room[y + i] = to_bfloat(room[x + i])
        elif op == PLAIN:
            _plain(room[y : y + m], room[x : x + n], numbers[a : a + n * m], totals)
        else:
            count = n // size * m
            _multiply(
                op, room[y : y + m], n // size, integers[a : a + n * m], numbers[b : b + count], numbers[c : c + count],
                quants[:n], row_scales, sums, 32 // size,
            )  # fmt: skip
