"""Compare the calls of a session with a build: the first difference, explained, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, Self

from refruntime.battery.features import feature_finder
from refruntime.cases.steps import Case
from refruntime.contract.profile import Profile
from refruntime.differential.case_result import CaseResult
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import FINE, MEANINGS, Verdict
from refruntime.display import Displayed
from refruntime.engines.base import Engine, Limits
from refruntime.hypotheses.explain import Explainer
from refruntime.numerics import Numerics
from refruntime.session.state import SessionError

LATER_BYTES: Final = 2**26
"""Size in bytes of a model that a session may load later beside a build."""


@dataclass(frozen=True)
class ComparedBuild:
    """A build to compare with: its name, its bytes and their SHA-256, and a function that makes a fresh instance.

    `fit` makes a file of ours one of the build's, for whoever makes instances otherwise (ID-2).
    """

    name: str
    module: bytes
    sha256: str
    fresh: Callable[[], Engine]
    fit: Callable[[bytes], bytes] = lambda data: data

    @classmethod
    def compiled(cls, name: str, module: bytes, limits: Limits | None = None) -> Self:
        """Compile a module. EngineMissing without wasmtime, EngineError, InterfaceMismatch."""
        from refruntime.engines.wasm import WasmEngine, WasmModule

        bounds = limits if limits is not None else Limits.beside([LATER_BYTES], Limits().seconds)
        made = WasmModule(module, bounds)
        return cls(name, module, sha256(module).hexdigest(), lambda: WasmEngine(made, bounds))


@dataclass(frozen=True, repr=False)
class BuildComparison(Displayed):
    """What a build answered to the calls of a session, beside the oracle."""

    build: ComparedBuild
    profile: Profile
    result: CaseResult

    @property
    def verdict(self) -> Verdict:
        """Return the verdict."""
        return self.result.verdict

    @property
    def failed(self) -> str:
        """Say why the build is not fine, empty if it is."""
        return "" if self.verdict in FINE else f"{self.verdict}: {MEANINGS[self.verdict]}"

    def to_dict(self) -> Mapping[str, Any]:
        """Return plain values; bytes as hex."""
        comparison, result = self.result.comparison, self.result
        differences = [
            {"step": each.index, "field": each.field, "oracle": _plain(each.reference), "build": _plain(each.build)}
            for each in comparison.differences
        ]
        document: dict[str, Any] = {
            "verdict": str(result.verdict),
            "reason": result.reason,
            "steps": comparison.steps,
            "fields": sum(comparison.compared.values()),
            "tokens": comparison.tokens,
            "differences": differences,
            "explanation": None if result.explanation is None else result.explanation.document(),
        }
        return document | ({"crash": result.crash} if result.verdict is Verdict.ORACLE_CRASH else {})


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def compare_calls(case: Case, build: ComparedBuild, profile: Profile, numerics: Numerics) -> BuildComparison:
    """Run calls on the oracle and a fresh instance, and search for the cause of the first difference.

    SessionError without calls, and for numbers that no build computes.
    """
    if not case.steps:
        raise SessionError("there are no calls to compare yet")
    if not numerics.of_the_contract:
        raise SessionError("a build is compared in float32; start without --numerics")
    oracle = Oracle(profile, numerics)
    suite = Suite(build.fresh, oracle, features=feature_finder(build.fresh, oracle.profile))
    offered = suite.offered()
    result = replace(suite, explain=Explainer(oracle, offered)).judge(case, offered)
    return BuildComparison(build, profile, result)
