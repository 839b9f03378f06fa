"""Seal SLM1 files for a build whose checksum formula nobody knows: the build itself says the sum (ID-2).

    sealer = Sealer(module_bytes)
    sealer.comparison            # how the build compares: kind "whole", "truncated" or "not verified"; evidence
    sealed = sealer.seal(file)   # Sealed(data=.., checksum=.., how="asked"), one load_model for each new file
    fit = sealer.fit(file)       # bytes: as seal, but what does not hold the checksum of SL-5 stays as it is

`seal` is for a file that should be right. `fit` is for files that we made under a profile: those with a right checksum
get that of the build, those that are wrong on purpose (and GGUF, and anything else) are returned unchanged, so every
artifact of a battery may be given to it. A file that the build refuses before it compares (a wrong version, a header
that does not fit) needs no seal and is returned unchanged, `how="not reached"`.

Sums are kept by content: `known` is any mapping from `Sealer.key(file)` to a sum, and a caller who keeps that mapping
asks nothing twice. When the formula of the build is known, give a profile with it (`Sealer(module, formula=profile)`):
sums are then computed, and the build is not asked at all.

`CannotSeal` is raised by the constructor when the sum of a build cannot be read; its text is for people, `kind` for
machines, `tried` says what was done. InvalidModule: the module has instructions that nobody here knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.containers.checksum import CHECKSUM_FIELD, slm1_checksum, with_checksum
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.engines.base import Limits
from refruntime.identify.comparison import CannotSeal as CannotSeal
from refruntime.identify.comparison import ChecksumComparison, MaskedBits, ask_parts, find_comparison
from refruntime.identify.watched_build import WatchedBuild

HEADER_BYTES: Final = 108

SMALLEST: Final = Shape(hidden=2, layers=1, heads=1, ffn=1, capacity=4, tied=True)
LARGER: Final = Shape(hidden=8, layers=2, heads=2, ffn=12, capacity=16)

How = Literal["asked", "kept", "computed", "not verified", "not reached", "no SLM1"]


@dataclass(frozen=True)
class Sealed:
    """A file as a build wants it. `checksum` is None when `how` says that the file was left as it is."""

    data: bytes
    checksum: int | None
    how: How
    detail: str = ""


class Sealer:
    """Seal files for one build. Raises CannotSeal, and what WasmModule and WasmEngine raise."""

    def __init__(
        self,
        module: bytes,
        limits: Limits | None = None,
        known: MutableMapping[str, int] | None = None,
        formula: Profile | None = None,
    ) -> None:
        self.sha256 = hashlib.sha256(module).hexdigest()
        self.formula = formula
        self._module, self._limits = module, limits
        self._known: MutableMapping[str, int] = {} if known is None else known
        if formula is None:
            self.comparison  # noqa: B018  # a build that cannot be asked is told at once

    @cached_property
    def build(self) -> WatchedBuild:
        """The watched build; compiled when it is first asked."""
        return WatchedBuild(self._module, self._limits)

    @cached_property
    def comparison(self) -> ChecksumComparison:
        """How the build compares, if not 64 or 32 bits at a time then byte by byte: CannotSeal."""
        try:
            return find_comparison(self.build, probes())
        except CannotSeal as error:
            if error.kind != "never compared":
                raise
            return self._comparison_of_bytes(error)

    def _comparison_of_bytes(self, before: CannotSeal) -> ChecksumComparison:
        build = WatchedBuild(self._module, self._limits, single_bytes=True)
        try:
            found = find_comparison(build, probes())
        except CannotSeal as error:
            tried = (*before.tried, f"single bytes of the number: {error}")
            raise CannotSeal(before.kind, str(before), tried) from error
        self.build = build
        return found

    @property
    def loads(self) -> int:
        """Return how many files the build has loaded for this."""
        return self.build.loads if "build" in self.__dict__ else 0

    def key(self, file: bytes) -> str:
        """Return the key of a file in `known`: this build and the content without the checksum field."""
        return f"{self.sha256}:{hashlib.sha256(with_checksum(file, 0)).hexdigest()}"

    def seal(self, file: bytes) -> Sealed:
        """Return the file with the checksum that the build computes for it."""
        if file[:4] != b"SLM1" or len(file) < HEADER_BYTES:
            return Sealed(file, None, "no SLM1")
        if self.formula is not None:
            if self.formula.checksum == "not verified":
                return Sealed(file, None, "not verified")
            return _with_sum(file, slm1_checksum(file, self.formula), "computed")
        if self.comparison.kind == "not verified":
            return Sealed(file, None, "not verified")
        key = self.key(file)
        if key in self._known:
            return _with_sum(file, self._known[key], "kept")
        part, load = ask_parts(self.build, file, self.comparison.sites, self.comparison.mask)
        if load.status == Status.Ok:  # the number that was planted is right
            part = MaskedBits(self.comparison.mask, load.planted & self.comparison.mask)
        if part.mask & self.comparison.mask != self.comparison.mask:
            return Sealed(file, None, "not reached", str(load))
        self._known[key] = part.value
        return _with_sum(file, part.value, "asked")

    def fit(self, file: bytes, profile: Profile | None = None) -> bytes:
        """Return a file of ours for this build: only one that is right under `profile` (default: SL-5) is sealed."""
        if file[:4] != b"SLM1" or len(file) < HEADER_BYTES:
            return file
        first, last = CHECKSUM_FIELD
        right = slm1_checksum(file, profile or Profile()) == int.from_bytes(file[first:last], "little")
        return self.seal(file).data if right else file

    def own(self, file: bytes) -> bytes:
        """Return a file that the build takes for right with the checksum of SL-5; any other as it is."""
        sealed = self.seal(file)
        return with_checksum(file, slm1_checksum(file, Profile())) if sealed.checksum and sealed.data == file else file


def probes() -> Sequence[bytes]:
    """Return well-formed files to ask a build about, the smallest first."""
    shapes = (SMALLEST, SMALLEST, LARGER)
    return tuple(random_model(seed, shape, profile=Profile()) for seed, shape in enumerate(shapes, 1))


def _with_sum(file: bytes, checksum: int, how: How) -> Sealed:
    return Sealed(with_checksum(file, checksum), checksum, how)
