"""A build whose comparisons are watched while it loads files with a number in their checksum field."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random
from typing import Final

from refruntime.client import Client
from refruntime.containers.checksum import with_checksum
from refruntime.contract.status import Status
from refruntime.engines.base import EngineError, Limits, refusing_malformed
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.instrument.watch import WATCHED, WATCHED_64, Meeting, watch_comparisons

_LOW: Final = 2**32 - 1


@dataclass(frozen=True)
class WatchedLoad:
    """What one watched `load_model` came to: a raw status, or the error that stopped it; and the meetings."""

    status: int | None
    error: EngineError | None
    planted: int
    meetings: tuple[Meeting, ...]

    def __str__(self) -> str:
        if self.error is not None:
            return str(self.error)
        known = self.status in set(Status)
        return f"status {self.status}" + (f" ({Status(self.status or 0).name})" if known else "")


class WatchedBuild:
    """A build whose comparisons are watched. Raises what reading, compiling and instantiating a module raises."""

    def __init__(self, module: bytes, limits: Limits | None = None, *, single_bytes: bool = False) -> None:
        self.single_bytes = single_bytes
        self.limits = limits or Limits()
        self.sha256 = hashlib.sha256(module).hexdigest()
        with refusing_malformed():
            self.watched = watch_comparisons(module, single_bytes=single_bytes)
        self.compiled = WasmModule(self.watched.module, self.limits)
        self.loads = 0
        self._engine: WasmEngine | None = None
        self._random = Random(self.sha256)  # the same numbers in every run, and none that a build could know

    def random(self) -> int:
        """Return the next random 64-bit number; its halves differ and are not zero, single bytes are 0x80 and more."""
        if self.single_bytes:
            return int.from_bytes(bytes(self._random.sample(range(0x80, 0x100), 8)), "little")
        while True:
            number = self._random.getrandbits(64)
            if number & _LOW and number >> 32 and number & _LOW != number >> 32:
                return number

    def restart(self) -> None:
        """Ask a fresh instance from now on."""
        self._engine = None

    def load(self, file: bytes, stored: int) -> WatchedLoad:
        """Load a file with a number in its checksum field; after a trap or limit the next load has a new instance."""
        self.loads += 1
        try:
            engine = self._engine = self._engine or WasmEngine(self.compiled, self.limits)
            self.watched.plant(engine, stored)
            status = Client(engine).load_model(with_checksum(file, stored))
        except EngineError as error:
            meetings = self.watched.meetings(self._engine) if self._engine is not None else ()
            self.restart()
            return WatchedLoad(None, error, stored, meetings)
        return WatchedLoad(status, None, stored, self.watched.meetings(engine))

    def watched_names(self) -> str:
        """Return which instructions are watched, and how many there are of each."""
        counts = dict.fromkeys(WATCHED.values(), 0)
        for site in self.watched.sites:
            counts[WATCHED[site.opcode]] += 1
        return ", ".join(f"{count} {name}" for name, count in counts.items())

    def compares_64_bits(self) -> bool:
        """Say whether the module has any of the watched 64-bit instructions."""
        return any(site.opcode in WATCHED_64 for site in self.watched.sites)
