"""A build on its way to a worker: everything that makes instances of it there, with the contract that it is held to."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

from refruntime.cases.features import Found
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite
from refruntime.engines.base import Engine, Limits
from refruntime.fuzz.batch import FuzzSubject
from refruntime.identify.sealed_engine import SealedBuild
from refruntime.numerics import CompiledSeq32

Sealing = Literal["as they are", "by formula", "by asking"]


@dataclass(frozen=True)
class PackedBuild:
    """A build with what was found out about it once, so that no worker asks it again.

    `module` is compressed; `profile` is that of the oracle, `formula` that in whose checksum files are sealed for the
    build. `absent` are the features that it does not have, with the status that said so.
    """

    name: str
    module: bytes
    profile: Profile
    seconds: float
    memory_bytes: int
    kernels: str
    sealing: Sealing
    formula: Profile | None
    offered: frozenset[str]
    absent: tuple[tuple[str, int], ...]

    @classmethod
    def of(
        cls,
        name: str,
        module: bytes,
        fresh: Callable[[], Engine],
        profile: Profile,
        limits: Limits,
        kernels: str,
        found: Found,
    ) -> PackedBuild:
        """Pack a build that was met: `fresh` makes instances here, with sealed files or without."""
        sealing: Sealing = "as they are"
        formula = None
        if isinstance(fresh, SealedBuild):
            sealing, formula = ("by asking", None) if fresh.formula is None else ("by formula", fresh.formula)
        absent = tuple(sorted((feature, int(status)) for feature, status in found.absent.items()))
        offered = Suite(fresh, Oracle(profile)).offered()
        packed = zlib.compress(module, 6)
        rest = limits.seconds, limits.memory_bytes, kernels, sealing, formula
        return cls(name, packed, profile, *rest, offered, absent)

    @property
    def document(self) -> dict[str, Any]:
        """Return what makes results of this build comparable, as JSON-ready values."""
        return {
            "build": self.name,
            "sha256": module_hash(self),
            "profile": self.profile.fingerprint,
            "formula": None if self.formula is None else self.formula.fingerprint,
            "sealing": self.sealing,
            "offered": sorted(self.offered),
            "absent": [list(pair) for pair in self.absent],
            "seconds": self.seconds,
            "memory_bytes": self.memory_bytes,
        }

    @property
    def identity(self) -> str:
        """Return a hash of `document` without the name: results of equal identity belong to one another."""
        return content_hash({key: value for key, value in self.document.items() if key != "build"})

    @property
    def found(self) -> Found:
        """Return what the build does not have."""
        return Found((), {name: Status(status) for name, status in self.absent})


def content_hash(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document in canonical form."""
    return hashlib.sha256(canonical(document)).hexdigest()


def canonical(document: Any) -> bytes:
    """Return a document as bytes that depend on nothing but its values."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


@lru_cache(maxsize=256)
def module_hash(build: PackedBuild) -> str:
    """Return the SHA-256 of the module."""
    return hashlib.sha256(zlib.decompress(build.module)).hexdigest()


@lru_cache(maxsize=16)
def unpacked(build: PackedBuild) -> FuzzSubject:
    """Compile a build and make an oracle beside it, once in a process: EngineError."""
    from refruntime.engines.wasm import WasmEngine, WasmModule

    module = zlib.decompress(build.module)
    limits = Limits(build.seconds, build.memory_bytes)
    fresh: Callable[[], Engine] = partial(WasmEngine, WasmModule(module, limits), limits)
    if build.sealing != "as they are":
        fresh = SealedBuild(module, fresh, limits, build.formula)
    oracle = Oracle(build.profile, CompiledSeq32(1, build.kernels))
    return FuzzSubject(fresh, oracle, build.offered, frozenset(name for name, _ in build.absent))
