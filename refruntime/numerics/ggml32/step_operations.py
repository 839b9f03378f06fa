"""The operations of a program of `step_loops`, each a row of numbers: operation, y, x, n, then a, b, c, m, size.

y is where results go and x where inputs lie in the room, n how many there are; a to c are places of weights.
"""

from __future__ import annotations

from typing import Final

(
    NORM,  # y = norm(x [n]) * numbers[a]
    ADD,  # y [n] += x
    SILU,  # y [n] = silu(x) * (what lies at a)
    ROTATE,  # adjacent pairs of all heads at y [n]
    STORE,  # keys x [n] and values at a, of layer y
    ATTEND,  # y [n] of queries x, in layer a
    QUANTIZE,  # x [n] in blocks of 32
    TO_HALF,  # y = x [n] in half precision
    TO_BFLOAT,
    PLAIN,  # y [m] = x [n] times columns numbers[a]
    SUM_SCALED,  # y [m] = the quantised row of n times integers[a] with scales numbers[b] of blocks of `size`
    SCALES_FIRST,
    PLUS_MINIMUM,  # with minima numbers[c]
) = range(13)

WIDTH: Final = 9
