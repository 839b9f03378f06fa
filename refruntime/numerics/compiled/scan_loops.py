"""Compiled loops for the states of recurrent layers: the operations of `scans` in the same order, so the same bits.

The sums over the numbers of a state are one after the other, four of them at a time. States and rows come flat.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from refruntime.numerics.compiled.loops import expf
from refruntime.quants.compiled.loops import inlined, kernel

ZERO: Final = np.float32(0)
ONE: Final = np.float32(1)


@inlined
def _read(sums, to, state, at, vector, from_, size, count):  # type: ignore[no-untyped-def]
    """Set `count` sums to those of the state's rows of N numbers times a vector, in index order from 0.0."""
    row = 0
    while row + 4 <= count:
        a, b, c, d = at + row * size, at + (row + 1) * size, at + (row + 2) * size, at + (row + 3) * size
        first, second, third, fourth = ZERO, ZERO, ZERO, ZERO
        for i in range(size):
            number = vector[from_ + i]
            first += state[a + i] * number
            second += state[b + i] * number
            third += state[c + i] * number
            fourth += state[d + i] * number
        sums[to + row], sums[to + row + 1], sums[to + row + 2], sums[to + row + 3] = first, second, third, fourth
        row += 4
    while row < count:
        total = ZERO
        for i in range(size):
            total += state[at + row * size + i] * vector[from_ + i]
        sums[to + row] = total
        row += 1


@kernel
def state_space(given, state, rows, decay, shape):  # type: ignore[no-untyped-def]
    """Take rows [n, width] into a state [S, M, N] and fill given [n, S, M]; shape = (S, M, N, G)."""
    heads, numbers, size, groups = shape
    inner, width = heads * numbers, heads * numbers + 2 * groups * size + heads
    for n in range(given.size // inner):
        row = n * width
        for head in range(heads):
            length = rows[row + width - heads + head]
            factor = expf(length * decay[head])
            b = row + inner + head // (heads // groups) * size
            c = b + groups * size
            for number in range(numbers):
                at = (head * numbers + number) * size
                scaled = rows[row + head * numbers + number] * length
                for i in range(size):
                    state[at + i] = state[at + i] * factor + rows[b + i] * scaled
            begin = head * numbers
            _read(given, n * inner + begin, state, begin * size, rows, c, size, numbers)


@kernel
def delta_net(given, state, rows, query, shape):  # type: ignore[no-untyped-def]
    """Do that for a delta net; `query` [N] is room."""
    heads, numbers, size, groups = shape
    inner, keys = heads * numbers, groups * size
    width, scale = 2 * keys + inner + 2 * heads, ONE / np.sqrt(np.float32(size))
    for n in range(given.size // inner):
        row = n * width
        for head in range(heads):
            q, v = row + head % groups * size, row + 2 * keys + head * numbers
            k, begin = q + keys, head * numbers
            factor, beta = expf(rows[row + width - 2 * heads + head]), rows[row + width - heads + head]
            for i in range(begin * size, (begin + numbers) * size):
                state[i] = state[i] * factor
            for i in range(size):
                query[i] = rows[q + i] * scale
            _read(given, n * inner + begin, state, begin * size, rows, k, size, numbers)
            for number in range(numbers):
                change = (rows[v + number] - given[n * inner + begin + number]) * beta
                at = (begin + number) * size
                for i in range(size):
                    state[at + i] = state[at + i] + rows[k + i] * change
            _read(given, n * inner + begin, state, begin * size, query, 0, size, numbers)
