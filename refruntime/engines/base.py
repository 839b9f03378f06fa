"""The protocol of an engine: something that answers the 13 exports over a linear memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from refruntime.host_numbers import Number as Number  # re-exported: callers of an engine need no more than this module
from refruntime.instrument.reader import MalformedModule

SHOWN_PROBLEMS: Final = 20
ROOM_BYTES: Final = 384 * 2**20
FLOAT32_GROWTH: Final = 24


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


class EngineMissing(EngineError, ModuleNotFoundError):
    """The software that an engine needs is not installed, or cannot be loaded here; the message says what to do."""


class InvalidModule(EngineError):
    """The bytes are not a module that can be compiled."""


@contextmanager
def refusing_malformed() -> Iterator[None]:
    """Raise InvalidModule for a MalformedModule; also a decorator."""
    try:
        yield
    except MalformedModule as error:
        raise InvalidModule(str(error)) from error


@dataclass(frozen=True)
class InterfaceProblem:
    """One difference from the surface of ABI-1: `name` is that of the import or export."""

    kind: Literal["missing", "mistyped", "extra", "import"]
    name: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: expected {self.expected}, found {self.found}"


class InterfaceMismatch(EngineError):
    """The module does not have the surface of ABI-1 and ABI-2; `problems` has one row for each difference."""

    def __init__(self, problems: tuple[InterfaceProblem, ...]) -> None:
        self.problems = problems
        shown = [str(problem) for problem in problems[:SHOWN_PROBLEMS]]
        if len(problems) > SHOWN_PROBLEMS:
            shown.append(f"and {len(problems) - SHOWN_PROBLEMS} more")
        super().__init__("; ".join(shown))


@dataclass(frozen=True)
class Limits:
    """What a build may use: `seconds` for each call, compilation and start; `memory_bytes` of linear memory.

    Those beside models come from `beside`; others have the room of a build without one, or with a small one.
    After the time `until` of this machine's `time.monotonic` (of all its processes) every call is stopped.
    """

    seconds: float = 60.0
    memory_bytes: int = ROOM_BYTES
    until: float = math.inf

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ValueError(f"seconds: expected a finite number above 0, found {self.seconds!r}")
        if not 0 < self.memory_bytes <= 2**32:
            raise ValueError(f"memory_bytes: expected 1 .. {2**32}, found {self.memory_bytes!r}")

    @classmethod
    def beside(cls, models: Iterable[int], seconds: float, until: float = math.inf) -> Limits:
        """Return limits of a build that needs to load models of these sizes in bytes, the largest in float32.

        ROOM_BYTES hold the largest slice (MEM-1) and a copy of it; a byte of a model is at most five weights.
        """
        return cls(seconds, min(2**32, ROOM_BYTES + FLOAT32_GROWTH * max(models, default=0)), until)


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
