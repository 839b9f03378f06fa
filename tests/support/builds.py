"""Stand-ins for builds: the oracle with something changed, and engines that misbehave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from refruntime.cases.needs import features_of
from refruntime.contract.profile import Profile
from refruntime.engines.base import Engine, EngineLimit, EngineTrap, MemoryFault
from refruntime.engines.reference import ReferenceEngine
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.exports import ExportedABI, RuntimeFactory
from refruntime.host_numbers import Number
from refruntime.numerics import CompiledSeq32, Numerics
from refruntime.runtime import Runtime

GUEST_FOLDER = Path(__file__).resolve().parent.parent / "guest"
GUEST = GUEST_FOLDER / "guest.wasm"
MUTANTS = {
    path.stem.removeprefix("guest-bug-"): path for path in sorted((GUEST_FOLDER / "mutants").glob("guest-bug-*.wasm"))
}

HIDDEN_LOGITS = {"diagnostic_names": (("logits_summary", "other_summary"), ("top_tokens", "other_tokens"))}
"""Profile changes of a build that shows no logits under names that the comparison knows."""


def wasm_build(path: Path) -> Callable[[], Engine]:
    """Return a function that makes fresh instances of a module."""
    module = WasmModule(path.read_bytes())
    return lambda: WasmEngine(module)


def changed_build(
    profile: Profile | None = None, numerics: Numerics | None = None, runtime: RuntimeFactory = Runtime
) -> Callable[[], Engine]:
    """Return a function that makes a build out of a changed oracle."""
    shared = numerics if numerics is not None else CompiledSeq32(1)
    return lambda: ReferenceEngine(ExportedABI(profile, numerics=shared, runtime_type=runtime))


class Misbehaving(ReferenceEngine):
    """A build that answers rightly until the export `at` is called, and then raises what `trouble` makes."""

    def __init__(self, at: str, trouble: Callable[[], Exception]) -> None:
        super().__init__(ExportedABI())
        self._at, self._trouble = at, trouble

    def call(self, export: str, *arguments: Number) -> int | None:
        if export == self._at:
            raise self._trouble()
        return super().call(export, *arguments)


TROUBLES: dict[str, Callable[[], Exception]] = {
    "trap": lambda: EngineTrap("unreachable"),
    "limit": lambda: EngineLimit("generate was stopped after 1 seconds"),
    "fault": lambda: MemoryFault("range 0xffffffff + 1 lies outside memory"),
}


class Lacking(ReferenceEngine):
    """A build that answers `load_model` otherwise where `answer` says so, as one without some feature does."""

    def __init__(self, answer: Callable[[bytes], int | Exception | None]) -> None:
        super().__init__(ExportedABI(numerics=CompiledSeq32(1)))
        self._answer = answer

    def call(self, export: str, *arguments: Number) -> int | None:
        answer = None
        if export == "load_model" and arguments[0]:
            answer = self._answer(self.read(int(arguments[0]), int(arguments[1])))
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            return super().call(export, *arguments)
        super().call("load_model", 0, 0)  # a failure that leaves a message, as that of a build does
        return answer


def without(feature: str, answer: int | Exception) -> Callable[[], Engine]:
    """Return a function that makes builds without a feature: artifacts that need it are answered with `answer`."""
    return lambda: Lacking(lambda data: answer if feature in features_of(data) else None)
