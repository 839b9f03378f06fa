"""Compute the SLM1 checksum (SL-5), whatever its formula, fast enough for real files and for thousands of small ones.

Each step needs the one before, so it cannot be spread over lanes. Three things help, none of which changes a bit: the
plain loop does little for each byte (`checksum_plain`), a file that begins as one before is summed from the change on,
and when so much was summed that loading it pays, a compiled loop takes over where numba is there
(`checksum_compiled`), which is faster than looking for a common beginning.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.containers.checksum_operands import CHECKSUM_FIELD as CHECKSUM_FIELD  # what else speaks of a file
from refruntime.containers.checksum_plain import Advance, plain_loop, rotate_left
from refruntime.contract.checksum_order import Operation, Rotate, read_order
from refruntime.contract.profile import Profile
from refruntime.machine_code import prepare

LOADING_PAYS: Final = 3_000_000
"""Bytes in the plain loop that take as long as loading the compiled one."""

Operations = tuple[Operation, ...]


def slm1_checksum(data: bytes | bytearray | memoryview, profile: Profile) -> int:
    """Return the checksum of a whole SLM1 file under the start, rotation and order of the profile (SL-5)."""
    return _SUMMING.checksum(np.frombuffer(data, np.uint8), resolved_operations(profile), profile.checksum_start)


def with_checksum(data: bytes, checksum: int) -> bytes:
    """Return a file with another number in its checksum field."""
    first, last = CHECKSUM_FIELD
    return data[:first] + checksum.to_bytes(8, "little") + data[last:]


def resolved_operations(profile: Profile) -> Operations:
    """Return the operations of a step, with the rotation of the profile in the place of a bare `rotate`."""
    plain = Rotate(profile.checksum_rotation)
    return tuple(plain if operation == Rotate() else operation for operation in read_order(profile.checksum_order))


class Checkpoints:
    """States in the middle of files, known by all bytes before them, so that a common beginning is summed once.

    The key of a beginning is its BLAKE2b hash, which takes a hundredth of the time of the plain loop.
    """

    STEP: Final = 1024  # bytes between two checkpoints
    MOST: Final = 32_768

    def __init__(self) -> None:
        self._states: dict[tuple[Operations, int, bytes], int] = {}  # oldest first

    def advance(self, octets: NDArray[np.uint8], operations: Operations, state: int, advance: Advance) -> int:
        """Return the state after a whole file, going on from the last checkpoint that is known."""
        ends = [*range(self.STEP, octets.size, self.STEP), octets.size]
        keys = self._keys(octets, ends, operations, state)
        known = next((place for place in range(len(ends) - 1, -1, -1) if keys[place] in self._states), -1)
        begin = 0
        if known >= 0:
            state, begin = self._states[keys[known]], ends[known]
        for key, end in zip(keys[known + 1 :], ends[known + 1 :], strict=True):
            state = advance(octets, begin, end, state)
            self._states[key] = state
            begin = end
        while len(self._states) > self.MOST:
            del self._states[next(iter(self._states))]
        return state

    def _keys(
        self, octets: NDArray[np.uint8], ends: Sequence[int], operations: Operations, state: int
    ) -> list[tuple[Operations, int, bytes]]:
        """Return what the state at each end depends on: formula, number of bytes, and the bytes that count."""
        first, last = (min(edge, octets.size) for edge in CHECKSUM_FIELD)
        counted = np.concatenate([octets[:first], np.zeros(last - first, np.uint8), octets[last:]])
        running, begin, keys = hashlib.blake2b(state.to_bytes(8, "little"), digest_size=24), 0, []
        for end in ends:
            running.update(counted[begin:end].data)
            keys.append((operations, end, running.digest()))
            begin = end
        return keys


class Summing:
    """The way of summing now: plain with checkpoints, later compiled."""

    def __init__(self, loading_pays: float = LOADING_PAYS) -> None:
        self._checkpoints = Checkpoints()
        self._until_loading = loading_pays
        self._compiled: Callable[..., int] | None = None

    def checksum(self, octets: NDArray[np.uint8], operations: Operations, start: int) -> int:
        """Return the checksum of a file, uint8 [n]; no operation is a bare `rotate`."""
        self._until_loading -= octets.size
        if self._until_loading < 0:
            self._until_loading = math.inf
            self._compiled = compiled_checksum()
        if self._compiled is not None:
            return self._compiled(octets, operations, start)
        advance, state, turn = plain_loop(operations, start)
        return rotate_left(self._checkpoints.advance(octets, operations, state, advance), turn)


def compiled_checksum() -> Any:
    """Return the compiled loop, None where numba cannot be loaded."""
    from refruntime.containers.checksum_compiled import checksum

    try:
        prepare()
    except ImportError:
        return None
    return checksum


_SUMMING: Final = Summing()
