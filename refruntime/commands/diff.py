"""`refruntime diff`: a build against the oracle, case by case."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click
import numpy as np

from refruntime import __version__
from refruntime.cases.battery import FAMILIES, default_battery, generation_models, select
from refruntime.cases.random_sessions import random_sessions
from refruntime.cases.steps import Case
from refruntime.commands.files import UnreadableFile, read_profile
from refruntime.commands.shared import json_option, map_file, progress, write_json
from refruntime.contract.profile import Profile
from refruntime.differential.document import JSON_VERSION, json_document
from refruntime.differential.explain import Explainer
from refruntime.differential.gaps import find_gaps, write_profile
from refruntime.differential.junit import junit_xml
from refruntime.differential.report import About, github_annotations, text_report
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite, SuiteResult
from refruntime.differential.verdict import EXIT_MISMATCH
from refruntime.engines.base import Engine, EngineError, EngineMissing, InterfaceMismatch, InvalidModule, Limits
from refruntime.engines.declaration import (
    ContractRefused,
    DeclarationError,
    Resolved,
    read_declaration,
    resolve_contract,
)
from refruntime.numerics import KERNELS, Seq32

MODEL_SUFFIXES = (".slm1", ".slm", ".gguf")

GOLDEN_MODELS = Path(__file__).resolve().parent.parent.parent / "golden" / "models"
"""Models that lie beside the package in a checkout."""


@click.command(
    "diff",
    epilog="""\b
Examples:
  refruntime diff build.wasm
  refruntime diff build.wasm --filter sampler --filter GEN-9
  refruntime diff build.wasm --model stories.gguf --profile build.toml --junit report.xml
  refruntime diff build.wasm --random 10000 --seed 7
  refruntime diff build.wasm --json | jq .summary
""",
)
@click.argument("build", type=click.Path(path_type=Path))
@click.option(
    "--filter",
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="Run only these cases: a name, a family, a rule, or a shell pattern. Several are allowed.",
)
@click.option(
    "--model",
    "models",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Generate with this model too (family `generate`). Several are allowed.",
)
@click.option(
    "--profile",
    "profile_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Contract profile in TOML; without it what the build declares, else the default.",
)
@click.option(
    "--random",
    "sessions",
    metavar="N",
    type=click.IntRange(min=1),
    help="Run N random sessions instead of the battery; --seed chooses them.",
)
@click.option("--seed", type=click.IntRange(0, 2**31), default=1, show_default=True, help="Seed of --random.")
@click.option("--list", "only_list", is_flag=True, help="List the cases and the rules that they cite; run nothing.")
@click.option("--fail-fast", is_flag=True, help="Stop after the first case that is not fine.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    help="Seconds after which a call of the build is stopped.",
)
@click.option(
    "--explain/--no-explain",
    "explains",
    default=True,
    show_default=True,
    help="Try known causes on the first cases that are not fine.",
)
@click.option(
    "--kernels",
    type=click.Choice(KERNELS),
    default="auto",
    show_default=True,
    help="What computes the oracle's numbers; it never changes a bit.",
)
@click.option(
    "--write-profile",
    "new_profile",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Find the options of declared rules under which the build agrees, and write them as a profile.",
)
@click.option("--junit", "junit_path", metavar="FILE", type=click.Path(path_type=Path), help="Write JUnit XML too.")
@click.option(
    "--github/--no-github",
    default=lambda: os.environ.get("GITHUB_ACTIONS") == "true",
    show_default="on in GitHub Actions",
    help="Write workflow annotations too.",
)
@json_option
def diff_command(
    build: Path,
    patterns: tuple[str, ...],
    models: tuple[Path, ...],
    profile_path: Path | None,
    sessions: int | None,
    seed: int,
    only_list: bool,
    fail_fast: bool,
    timeout: float,
    explains: bool,
    kernels: str,
    new_profile: Path | None,
    junit_path: Path | None,
    github: bool,
    as_json: bool,
) -> None:
    """Compare the WebAssembly module BUILD with the oracle: statuses, diagnostics, logits, results, bit for bit.

    Without --filter the whole battery runs: states, statuses, containers, generation, sampler, limits. Exit codes: 0
    every case is fine, 1 some case is not or nothing was compared, 2 wrong usage, 3 a missing tool or file, 4 a bug in
    the oracle.
    """
    module = bytes(map_file(build))
    given = read_profile(profile_path) if profile_path is not None else None
    resolved = _contract(module, given, as_json)
    if only_list:
        _list(_cases(resolved.profile, models, patterns, sessions, seed), as_json)
        return
    engines = _engines(module, Limits(seconds=timeout), as_json)
    with progress("making the cases"):
        cases = _cases(resolved.profile, models, patterns, sessions, seed)
    oracle = Oracle(resolved.profile, _numerics(kernels, as_json))
    repeated = [] if profile_path is None else ["--profile", str(profile_path)]
    repeated += [word for path in models for word in ("--model", str(path))]
    repeated += [] if sessions is None else ["--random", str(sessions), "--seed", str(seed)]
    about = _about(build, module, resolved, oracle, engines.facts, repeated, kernels)
    suite = Suite(engines.fresh, oracle)
    if explains:
        suite = replace(suite, explain=Explainer(oracle, suite.offered()))
    with progress("comparing", len(cases)) as advance:
        result = suite.run(cases, fail_fast=fail_fast, after_case=lambda _: advance(1))
    tracebacks = _save_tracebacks(result)
    gaps = None
    if new_profile is not None:
        with progress("looking for options that fit"):
            gaps = find_gaps(engines.fresh, lambda profile: _cases(profile, models, patterns, sessions, seed), oracle)
        _write(new_profile, write_profile(gaps).encode())
    if junit_path is not None:
        _write(junit_path, junit_xml(result, about))
    if as_json:
        document = {**json_document(result, about), "tracebacks": tracebacks}
        write_json(document if gaps is None else {**document, "gaps": gaps.lines, "clean_with_profile": gaps.clean})
    else:
        click.echo(text_report(result, about, tracebacks), nl=False)
        if gaps is not None:
            click.echo("\n".join(["", f"wrote the profile {new_profile}:", *(f"  {line}" for line in gaps.lines)]))
    if github:
        for line in github_annotations(result, about):
            click.echo(line, err=as_json)  # standard output holds the one document
    raise click.exceptions.Exit(result.exit_code)


# What to compare -----------------------------------------------------------------------------------------------------


def _contract(module: bytes, given: Profile | None, as_json: bool) -> Resolved:
    try:
        return resolve_contract(read_declaration(module), given)
    except (DeclarationError, ContractRefused, InvalidModule) as error:
        _refuse(2, str(error), as_json)


def _cases(
    profile: Profile, models: Sequence[Path], patterns: Sequence[str], sessions: int | None, seed: int
) -> tuple[Case, ...]:
    """Return the chosen cases; a pattern that fits no case is a usage error, so that no run is empty by accident."""
    golden = sorted(GOLDEN_MODELS.iterdir()) if GOLDEN_MODELS.is_dir() else []
    paths = [*(path for path in golden if path.suffix in MODEL_SUFFIXES), *models]
    artifacts = {path.name: bytes(map_file(path)) for path in paths}
    if sessions is not None:
        battery = select(random_sessions(seed, sessions, artifacts | generation_models(profile)), patterns)
    else:
        battery = default_battery(profile, artifacts, patterns)
    for pattern in patterns:
        if not select(battery, [pattern]):
            families = ", ".join(FAMILIES)
            raise click.BadParameter(f"{pattern!r} fits no case; families are {families}", param_hint="--filter")
    return battery


def _list(cases: Sequence[Case], as_json: bool) -> None:
    if as_json:
        write_json({"cases": [{"name": case.name, "steps": len(case.steps), "rules": case.rules} for case in cases]})
        return
    width = max(len(case.name) for case in cases)
    for case in cases:
        click.echo(f"{case.name:<{width}}  {len(case.steps):>3} steps  {', '.join(case.rules)}")


class _Engines:
    """The compiled build, and what a report says of the software that runs it."""

    def __init__(self, module: bytes, limits: Limits) -> None:
        from refruntime.engines.wasm import WasmEngine, WasmModule

        compiled = WasmModule(module, limits)
        self.facts = {"wasmtime": str(compiled.info["wasmtime"]), "bytes": str(compiled.info["size"])}
        self.fresh: Callable[[], Engine] = lambda: WasmEngine(compiled, limits)


def _engines(module: bytes, limits: Limits, as_json: bool) -> _Engines:
    """Compile the build: exit code 3 without wasmtime, 1 for a module with another surface, 2 for none at all."""
    try:
        return _Engines(module, limits)
    except EngineMissing as error:
        _refuse(3, str(error), as_json)
    except InterfaceMismatch as error:
        _refuse(EXIT_MISMATCH, f"the surface differs (ABI-1, ABI-2): {error}", as_json, problems=error.problems)
    except EngineError as error:
        _refuse(2, str(error), as_json)


def _refuse(code: int, message: str, as_json: bool, problems: Sequence[object] = ()) -> NoReturn:
    """Say why nothing was compared, and exit."""
    if as_json:
        document = {
            "version": JSON_VERSION,
            "exit_code": code,
            "error": message,
            "problems": [str(p) for p in problems],
        }
        write_json(document)
    elif problems:
        click.echo(message.partition(": ")[0] + ":", err=True)
        for problem in problems:
            click.echo(f"  {problem}", err=True)
    else:
        click.echo(f"refruntime diff: {message}", err=True)
    raise click.exceptions.Exit(code)


def _numerics(kernels: str, as_json: bool) -> Seq32:
    try:
        return Seq32(kernels=kernels)
    except ImportError as error:
        _refuse(3, f"the {kernels} kernels cannot be loaded: {error}", as_json)


def _about(
    build: Path,
    module: bytes,
    resolved: Resolved,
    oracle: Oracle,
    engine: dict[str, str],
    repeated: Sequence[str],
    kernels: str,
) -> About:
    """Say what was compared with what; `repeated` are the options that choose models, profile and random sessions."""
    return About(
        build=build.name,
        sha256=hashlib.sha256(module).hexdigest(),
        profile=resolved.profile,
        profile_source=resolved.source,
        notes=resolved.notes,
        facts={
            "engine": f"wasmtime {engine['wasmtime']}, module of {engine['bytes']} bytes",
            "oracle": f"refruntime {__version__}, NumPy {np.__version__}",
            "numerics": f"{oracle.numerics.name}, kernels {kernels}",
            "host": f"{platform.system()} {platform.machine()} ({sys.byteorder} endian), "
            f"Python {platform.python_version()}",
        },
        command=shlex.join(["refruntime", "diff", str(build), *repeated]),
    )


# What was found ------------------------------------------------------------------------------------------------------


def _save_tracebacks(result: SuiteResult) -> dict[str, str]:
    """Write the traceback of every crash into a file of its own: case name -> path."""
    crashed = [case for case in result.cases if case.crash]
    if not crashed:
        return {}
    folder = Path(tempfile.mkdtemp(prefix="refruntime-crash-"))
    saved = {}
    for case in crashed:
        path = folder / f"{case.case.name.replace('/', '-')}.txt"
        path.write_text(case.crash, encoding="utf-8")
        saved[case.case.name] = str(path)
    return saved


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror or error}") from error
