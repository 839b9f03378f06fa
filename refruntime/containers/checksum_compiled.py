"""The loop of the SLM1 checksum as machine code, for any operations: those of the plain loops, so the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from refruntime.containers.checksum_operands import CHUNK, counted_bytes, operand_values
from refruntime.contract.checksum_order import Mix, Multiply, Operation

_XOR: Final = np.uint8(0)
_ADD: Final = np.uint8(1)
_MULTIPLY: Final = np.uint8(2)
_ROTATE: Final = np.uint8(3)
_WIDTH: Final = np.uint64(64)
_LAST: Final = np.uint64(63)


def _kernel(function: Callable[..., Any]) -> Any:
    """Make a kernel. Its machine code is kept beside this file or, where that is read-only, in the user's cache."""
    codes, operands = (types.Array(kind, n, "C", readonly=True) for kind, n in ((types.uint8, 1), (types.uint64, 2)))
    signature = types.uint64(types.uint64, codes, operands)
    try:
        return njit([signature], nogil=True, cache=True)(function)
    except RuntimeError:  # no folder can be written: compile anew in every process
        return njit([signature], nogil=True)(function)


@_kernel
def _steps(state, codes, operands):  # type: ignore[no-untyped-def]
    """Apply the operations [k] with operands [k, n] for each of n bytes. A rotation by 0 is none."""
    for i in range(operands.shape[1]):
        for k in range(codes.size):
            code, value = codes[k], operands[k, i]
            if code == _XOR:
                state = state ^ value
            elif code == _ADD:
                state = state + value
            elif code == _MULTIPLY:
                state = state * value
            else:
                state = state << value | state >> ((_WIDTH - value) & _LAST)
    return state


def checksum(octets: NDArray[np.uint8], operations: tuple[Operation, ...], start: int) -> int:
    """Return the checksum of a whole file, uint8 [n], under any operations, none of them a bare `rotate`."""
    codes = np.array([_code(operation) for operation in operations], np.uint8)
    state = np.uint64(start)
    for begin in range(0, octets.size, CHUNK):
        counted = counted_bytes(octets, begin, begin + CHUNK)
        state = _steps(state, codes, np.stack([operand_values(operation, *counted) for operation in operations]))
    return int(state)


def _code(operation: Operation) -> np.uint8:
    match operation:
        case Mix("xor"):
            return _XOR
        case Mix("add"):
            return _ADD
        case Multiply():
            return _MULTIPLY
    return _ROTATE
