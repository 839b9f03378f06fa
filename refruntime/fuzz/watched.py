"""The oracle with an eye on its state: which call was made in which situation, and where it led."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.contract.profile import Profile
from refruntime.differential.run import Oracle
from refruntime.engines.base import EngineTrap
from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from refruntime.fuzz.reached import LOCKED, NO_STATUS, TRAP, Reach, Reached
from refruntime.host_numbers import Number
from refruntime.runtime import Machine
from refruntime.trace import Tracer


class WatchedEngine(ReferenceEngine):
    """A reference engine that counts its calls in `reached`."""

    def __init__(self, abi: ExportedABI, reached: Reached) -> None:
        super().__init__(abi)
        self._reached = reached
        self._locked = False

    def call(self, export: str, *arguments: Number) -> int | None:
        """Call an export as the oracle does."""
        before = self._situation()
        outcome = NO_STATUS
        try:
            result = super().call(export, *arguments)
            if result is not None and EXPORTS_BY_NAME[export].returns_status:
                outcome = str(result)
        except EngineTrap:
            self._locked, outcome = True, TRAP
            raise
        finally:
            self._reached.counts[Reach(before, export, outcome, self._situation())] += 1
        return result

    def _situation(self) -> str:
        return LOCKED if self._locked else self.abi.state.value


@dataclass(frozen=True)
class WatchedOracle(Oracle):
    """An oracle whose engines count what they reach."""

    reached: Reached = field(default_factory=Reached)

    def engine(
        self, machine: Callable[[Profile], Machine] = Machine.fresh, tracer: Tracer | None = None
    ) -> ReferenceEngine:
        """Return a fresh engine that counts."""
        return WatchedEngine(super().engine(machine, tracer).abi, self.reached)
