"""The checksum of SLM1 by a compiled loop, which is called without numba."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.containers.checksum_operands import CHUNK, counted_bytes, operand_values
from refruntime.contract.checksum_order import Mix, Multiply, Operation
from refruntime.machine_code import Loop

XOR: Final = np.uint8(0)
ADD: Final = np.uint8(1)
MULTIPLY: Final = np.uint8(2)
ROTATE: Final = np.uint8(3)
"""What the numbers of operations mean to the loop."""
STEPS: Final = Loop("refruntime.containers.checksum_loop", "steps")


def checksum(octets: NDArray[np.uint8], operations: tuple[Operation, ...], start: int) -> int:
    """Return the checksum of a whole file, uint8 [n], under any operations, none of them a bare `rotate`."""
    codes = np.array([_code(operation) for operation in operations], np.uint8)
    state = np.array([start], np.uint64)
    for begin in range(0, octets.size, CHUNK):
        counted = counted_bytes(octets, begin, begin + CHUNK)
        STEPS(state, codes, np.stack([operand_values(operation, *counted) for operation in operations]))
    return int(state[0])


def _code(operation: Operation) -> np.uint8:
    match operation:
        case Mix("xor"):
            return XOR
        case Mix("add"):
            return ADD
        case Multiply():
            return MULTIPLY
    return ROTATE
