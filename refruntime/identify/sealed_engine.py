"""A build that gets every SLM1 file with the checksum that it expects, so that one set of files serves all builds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.client import Client
from refruntime.containers.checksum import CHECKSUM_FIELD
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.engines.base import Engine, EngineError, Limits, Number
from refruntime.engines.wasm import WasmEngine, WasmModule
from refruntime.identify.seal import CannotSeal, Sealer

PLAIN: Final = Shape(hidden=4, layers=1, heads=2, ffn=6, capacity=8)

Fit = Callable[[bytes], bytes]
"""Return an artifact of ours as a build expects it; what is wrong on purpose stays wrong."""


@dataclass
class SealedEngine:
    """An engine to which whole SLM1 files are written with another checksum; all else passes through."""

    engine: Engine
    fit: Fit

    @property
    def name(self) -> str:
        """Return the name of the engine."""
        return self.engine.name

    @property
    def memory_size(self) -> int:
        """Return the size of linear memory in bytes."""
        return self.engine.memory_size

    def call(self, export: str, *arguments: Number) -> int | None:
        """Call an export: EngineTrap, EngineLimit."""
        return self.engine.call(export, *arguments)

    def read(self, pointer: int, length: int) -> bytes:
        """Copy bytes out of memory: MemoryFault outside of it."""
        return self.engine.read(pointer, length)

    def write(self, pointer: int, data: bytes) -> None:
        """Copy bytes into memory, a whole SLM1 file sealed: MemoryFault outside of it."""
        self.engine.write(pointer, self.fit(data) if data[:4] == b"SLM1" else data)


@dataclass
class SealedBuild:
    """Make instances that get sealed files; each process that this value is sent to has a sealer of its own.

    With the `formula` of a profile sums are computed, without one the build is asked for each file.
    """

    module: bytes
    fresh: Callable[[], Engine]
    limits: Limits | None = None
    formula: Profile | None = None
    _known: dict[bytes, bytes] = field(default_factory=dict)
    _sealer: Sealer | None = None

    def __call__(self) -> Engine:
        """Return a fresh instance."""
        return SealedEngine(self.fresh(), self.fit)

    def fit(self, data: bytes) -> bytes:
        """Return an artifact as the build expects it; each content is sealed once."""
        if data not in self._known:
            self._known[data] = self.sealer.fit(data)
        return self._known[data]

    def own(self, data: bytes) -> bytes:
        """Return an artifact that holds the build's checksum with that of SL-5; any other as it is."""
        if data[:4] != b"SLM1":
            return data
        return self.sealer.own(data)

    @property
    def sealer(self) -> Sealer:
        """Return what seals, made when it is first needed."""
        if self._sealer is None:
            self._sealer = Sealer(self.module, self.limits, formula=self.formula)
        return self._sealer

    def __getstate__(self) -> dict[str, object]:
        """Leave out what another process makes for itself."""
        return {**self.__dict__, "_known": {}, "_sealer": None}


@dataclass(frozen=True)
class Fitting:
    """How a build is met: `fresh` makes instances that get sealed files, `profile` is that of the oracle beside it.

    The oracle keeps the contract's own formula, in which all files of the project are sealed; `text` says how files
    are sealed for the build, empty where they are not. `fit` makes a file of ours one of the build's, `own` the other
    way round: a model that its makers sealed can be loaded by the oracle too.
    """

    fresh: Callable[[], Engine]
    profile: Profile
    text: str = ""
    fit: Fit = lambda data: data
    own: Fit = lambda data: data


def sealed_by_formula(profile: Profile) -> Fit:
    """Return what seals files by the formula of a profile, without a build."""
    return Sealer(b"", formula=profile).fit


def fit_build(module: bytes, fresh: Callable[[], Engine], profile: Profile, limits: Limits | None = None) -> Fitting:
    """Return how to meet a build: by the formula of its profile, else by asking it where it refuses a right file."""
    own = own_formula(profile)
    if own != profile and profile.checksum == "verified":
        build = SealedBuild(module, fresh, limits, profile)
        return Fitting(build, own, "files are sealed by the formula of the profile", build.fit, build.own)
    if profile.checksum != "verified" or "slm1" not in profile.containers or accepts(fresh, own):
        return Fitting(fresh, own)
    try:
        Sealer(module, limits)
    except (CannotSeal, EngineError):
        return Fitting(fresh, own)
    build = SealedBuild(module, fresh, limits)
    return Fitting(build, own, "files are sealed by asking the build for its sums", build.fit, build.own)


def fit_module(module: bytes, profile: Profile, limits: Limits | None = None) -> Fitting:
    """Return how to meet the build of these bytes, for what makes its instances itself: EngineError."""
    compiled = WasmModule(module, limits or Limits())
    return fit_build(module, lambda: WasmEngine(compiled, limits or Limits()), profile, limits)


def own_formula(profile: Profile) -> Profile:
    """Return a profile with the contract's own checksum formula."""
    default = Profile()
    return replace(
        profile,
        checksum_order=default.checksum_order,
        checksum_start=default.checksum_start,
        checksum_rotation=default.checksum_rotation,
    )


def accepts(fresh: Callable[[], Engine], profile: Profile, *, wrong: bool = False) -> bool:
    """Say whether a build does anything but refuse a plain file with InvalidHeader, as a foreign checksum makes it.

    With `wrong` the checksum of the file is wrong.
    """
    data = random_model(7, PLAIN, profile=profile)
    if wrong:
        at = CHECKSUM_FIELD[0]
        data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    try:
        return Client(fresh()).load_model(data) != Status.InvalidHeader
    except EngineError:
        return True
