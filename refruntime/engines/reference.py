"""The oracle as an engine."""

from __future__ import annotations

from collections.abc import Sequence

from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.engines.base import EngineLimit, EngineTrap, MemoryFault
from refruntime.exports import ExportedABI
from refruntime.host_numbers import Number
from refruntime.memory import Trap


class ReferenceEngine:
    """Wrap an `ExportedABI`. Host misuse stays `HostMisuse`: it is the caller's bug, not an answer."""

    name = "reference"

    def __init__(self, abi: ExportedABI | None = None) -> None:
        self.abi = abi if abi is not None else ExportedABI()

    @property
    def memory_size(self) -> int:
        """Return the size of linear memory in bytes."""
        return self.abi.linear_memory.size

    def call(self, export: str, *arguments: Number) -> int | None:
        """Call an export: EngineTrap; EngineLimit where not the contract answers but a limit of this machine."""
        try:
            result: int | None = getattr(self.abi, export)(*arguments)
        except Trap as trap:
            raise EngineTrap(str(trap)) from trap
        failure = self.abi.last_failure
        if failure is not None and failure.limit and EXPORTS_BY_NAME[export].returns_status:
            raise EngineLimit(f"limit: {failure}")
        return result

    def read(self, pointer: int, length: int) -> bytes:
        """Copy bytes out of memory: MemoryFault outside of it."""
        self._check(pointer, length)
        return self.abi.read(pointer, length)

    def write(self, pointer: int, data: bytes) -> None:
        """Copy bytes into memory: MemoryFault outside of it."""
        self._check(pointer, len(data))
        self.abi.write(pointer, data)

    def expect(self, tokens: Sequence[int]) -> None:
        """Guess the tokens that follow the next prompt; this saves time and changes no answer (GEN-4)."""
        if self.abi.runtime is not None:
            self.abi.runtime.expect(tokens)

    def _check(self, pointer: int, length: int) -> None:
        if pointer < 0 or length < 0 or pointer + length > self.memory_size:
            raise MemoryFault(f"range {pointer:#x} + {length} lies outside memory of {self.memory_size} bytes")
