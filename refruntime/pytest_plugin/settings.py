"""Read the options of the pytest plugin; whatever is wrong with them is a usage error that says what to do."""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from refruntime import resources
from refruntime.cases.select import is_named
from refruntime.contract.profile import Profile, ProfileError
from refruntime.engines.base import Engine, EngineError, InvalidModule, Limits
from refruntime.engines.declaration import ContractRefused, DeclarationError, read_declaration, resolve_contract
from refruntime.engines.interface import read_surface
from refruntime.golden.corpus import Corpus
from refruntime.golden.index import INDEX
from refruntime.golden.reading import GoldenError
from refruntime.golden.suite import GoldenSuite, golden_suite

PREFIX: Final = "golden/"
VERIFY: Final = "golden::verify"
MAX_TOML_BYTES: Final = 2**20


@dataclass(frozen=True)
class PluginSettings:
    """What to run: `ids` of goldens and whether to `verify`; `live` says why the oracle computes the answers, if so."""

    build: Path
    module: bytes
    goldens: GoldenSuite
    profile: Profile
    live: str
    ids: tuple[str, ...]
    verifies: bool
    excuses: Mapping[str, str]
    excuses_file: str
    limits: Limits

    @property
    def sha256(self) -> str:
        """Return the hash of the module."""
        return hashlib.sha256(self.module).hexdigest()


def read_settings(config: pytest.Config) -> PluginSettings:
    """Read every option: pytest.UsageError."""
    folder = config.invocation_params.dir
    build = folder / str(config.getoption("refruntime_wasm"))
    module = _read(build, "--refruntime-wasm")
    if find_spec("wasmtime") is None:
        raise pytest.UsageError("--refruntime-wasm needs wasmtime: pip install 'refruntime[wasm]'")
    try:
        read_surface(module)
    except InvalidModule as error:
        raise pytest.UsageError(f"--refruntime-wasm: {build} is no WebAssembly module: {error}") from error
    goldens = _goldens(config)
    profile, live = _profile(config, module, goldens)
    known = list(goldens.index["cases"])
    patterns = tuple(config.getoption("refruntime_filter"))
    for pattern in patterns:
        if not goldens.ids([pattern]):
            families = ", ".join(sorted({identifier.partition("/")[0] for identifier in known}))
            raise pytest.UsageError(f"--refruntime-filter: {pattern!r} fits no golden; families are {families}")
    nodes = _take_nodes(config, known)
    chosen = goldens.ids(patterns)
    if nodes:
        chosen = [identifier for identifier in chosen if PREFIX + identifier in nodes]
    excuses_path = config.getoption("refruntime_xfail")
    return PluginSettings(
        build=build,
        module=module,
        goldens=goldens,
        profile=profile,
        live=live,
        ids=tuple(chosen),
        verifies=not nodes or VERIFY in nodes,
        excuses={} if excuses_path is None else _excuses(folder / str(excuses_path), known),
        excuses_file="" if excuses_path is None else Path(str(excuses_path)).name,
        limits=_limits(config, goldens),
    )


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise pytest.UsageError(f"{option}: {path}: {error.strerror or error}") from error


def _limits(config: pytest.Config, goldens: GoldenSuite) -> Limits:
    seconds = config.getoption("refruntime_timeout")
    if not (math.isfinite(seconds) and seconds > 0):
        raise pytest.UsageError(f"--refruntime-timeout: expected seconds above 0, found {seconds}")
    return Limits.beside((entry["bytes"] for entry in goldens.index["models"].values()), seconds)


def _no_engine() -> Engine:
    raise EngineError("the build was not compiled yet")


def _goldens(config: pytest.Config) -> GoldenSuite:
    given = config.getoption("refruntime_golden")
    try:
        root = resources.golden_folder() if given is None else config.invocation_params.dir / str(given)
    except FileNotFoundError as error:
        raise pytest.UsageError(
            f"{error.strerror}, or name a folder of goldens with --refruntime-golden DIR"
        ) from error
    if not (root / INDEX).is_file():
        advice = "name the folder of goldens that holds INDEX.json with --refruntime-golden DIR"
        raise pytest.UsageError(f"no goldens in {root}; {advice}")
    try:
        return golden_suite(Corpus(root), _no_engine)
    except (GoldenError, OSError) as error:
        raise pytest.UsageError(f"--refruntime-golden: {root}: {error}") from error


def _profile(config: pytest.Config, module: bytes, goldens: GoldenSuite) -> tuple[Profile, str]:
    """Return the profile, and why its answers are computed live; nothing where the frozen ones hold."""
    path, given = config.getoption("refruntime_profile"), None
    if path is not None:
        text = _read(config.invocation_params.dir / str(path), "--refruntime-profile")
        try:
            given = Profile.from_toml(text.decode("utf-8"))
        except (UnicodeDecodeError, ProfileError) as error:
            raise pytest.UsageError(f"--refruntime-profile: {path}: {error}") from error
    try:
        declared = read_declaration(module)
        resolved = resolve_contract(declared, given)
    except (DeclarationError, ContractRefused, InvalidModule) as error:
        raise pytest.UsageError(f"--refruntime-wasm: {error}") from error
    if given is None and declared is None:
        return goldens.profile, ""
    if resolved.profile.fingerprint == goldens.profile.fingerprint:
        return goldens.profile, ""
    return resolved.profile, f"of {path}" if given is not None else "that the build declares"


def _take_nodes(config: pytest.Config, known: Collection[str]) -> set[str]:
    """Take node ids of goldens out of the arguments, which pytest would look for on the disk.

    They are kept as an option, which worker processes get too; with nothing but goldens named nothing else is run.
    """
    nodes = list(config.getoption("refruntime_nodes"))
    by_argument = {VERIFY: [VERIFY], "golden": [VERIFY, *(PREFIX + identifier for identifier in known)]}
    for identifier in known:
        by_argument.setdefault(PREFIX + identifier, []).append(PREFIX + identifier)
        by_argument.setdefault(PREFIX + identifier.partition("/")[0], []).append(PREFIX + identifier)
    mine = [argument for argument in config.args if argument in by_argument and not Path(argument).exists()]
    nodes += [node for argument in mine for node in by_argument[argument]]
    config.args = [argument for argument in config.args if argument not in mine]
    config.option.refruntime_nodes = nodes
    if mine and not config.args:
        config.option.refruntime_only = True
    if getattr(config.option, "refruntime_only", False):
        config.args = []
    return set(nodes)


def _excuses(path: Path, known: Collection[str]) -> dict[str, str]:
    """Return the reason of every golden that may fail; an excuse for nothing, or without a reason, is refused."""
    data = _read(path, "--refruntime-xfail")
    if len(data) > MAX_TOML_BYTES:
        raise pytest.UsageError(f"--refruntime-xfail: {path}: at most {MAX_TOML_BYTES} bytes, found {len(data)}")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise pytest.UsageError(f"--refruntime-xfail: {path}: no TOML: {error}") from error
    excuses: dict[str, str] = {}
    for pattern, reason in document.items():
        if not isinstance(reason, str) or not reason.strip():
            raise pytest.UsageError(f"--refruntime-xfail: {path}: {pattern!r}: expected a reason, found {reason!r:.60}")
        found = [identifier for identifier in known if is_named(identifier, pattern)]
        if not found:
            raise pytest.UsageError(f"--refruntime-xfail: {path}: {pattern!r} fits no golden")
        for identifier in found:
            if pattern == identifier or identifier not in excuses:
                excuses[identifier] = reason.strip()
    return excuses
