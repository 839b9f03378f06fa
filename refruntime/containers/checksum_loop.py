"""The loop of the SLM1 checksum for numba, for any operations: those of the plain loops, so the same bits."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from refruntime.containers.checksum_compiled import ADD, MULTIPLY, XOR

_WIDTH: Final = np.uint64(64)
_LAST: Final = np.uint64(63)


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def steps(running, codes, operands):  # type: ignore[no-untyped-def]
    """Apply the operations [k] with operands [k, n] to the state [1] for each of n bytes; a rotation by 0 is none."""
    state = running[0]
    for i in range(operands.shape[1]):
        for k in range(codes.size):
            code, value = codes[k], operands[k, i]
            if code == XOR:
                state = state ^ value
            elif code == ADD:
                state = state + value
            elif code == MULTIPLY:
                state = state * value
            else:
                state = state << value | state >> ((_WIDTH - value) & _LAST)
    running[0] = state
