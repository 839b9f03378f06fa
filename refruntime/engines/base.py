"""The protocol of an engine: something that answers the 13 exports over a linear memory."""

from __future__ import annotations

from typing import Protocol

from refruntime.host_numbers import Number


class EngineError(Exception):
    """Root of what can go wrong with an engine besides a status. None of it is a status (design: kinds of trouble)."""


class EngineTrap(EngineError):
    """A call trapped; `backtrace` tells where, as far as the engine knows."""

    def __init__(self, message: str, backtrace: str = "") -> None:
        self.backtrace = backtrace
        super().__init__(message)


class EngineLimit(EngineError):
    """A call was stopped by a limit of time, fuel or memory."""


class MemoryFault(EngineError):
    """A range that the engine named lies outside its memory."""


class InterfaceMismatch(EngineError):
    """The module does not have the surface of ABI-1 and ABI-2; `problems` has one line for each difference."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class Engine(Protocol):
    """Answer exports by name. All integers, in and out, have their unsigned meaning (ABI-2)."""

    @property
    def name(self) -> str:
        """Return `reference` or `wasm`."""

    @property
    def memory_size(self) -> int:
        """Return the size of linear memory in bytes."""

    def call(self, export: str, *arguments: Number) -> int | None:
        """Call an export with host numbers (ABI-3): EngineTrap, EngineLimit. None for an export without a result."""

    def read(self, pointer: int, length: int) -> bytes:
        """Copy bytes out of memory: MemoryFault outside of it."""

    def write(self, pointer: int, data: bytes) -> None:
        """Copy bytes into memory: MemoryFault outside of it."""
