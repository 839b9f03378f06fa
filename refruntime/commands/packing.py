"""What `fuzz` and `campaign` share: a build met and packed for its workers, and where they run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from refruntime import __version__
from refruntime.battery.features import find_features
from refruntime.campaign.ledger import Ledger, LedgerError
from refruntime.campaign.packed import PackedBuild
from refruntime.campaign.run import MOST_TRIES, Ran
from refruntime.campaign.tasks import FORMS
from refruntime.campaign.workers import Workers, in_processes, in_this_process
from refruntime.cases.features import Found
from refruntime.commands.build_options import build_profile_option, kernels_option, timeout_option
from refruntime.commands.diff.engines import engines_of, read_build
from refruntime.commands.diff.meet import identify_option, meet
from refruntime.commands.diff.report import conditions, make_numerics, refuse, resolved_contract
from refruntime.commands.files import Command, read_profile
from refruntime.commands.shared import json_option, printable, progress
from refruntime.contract.status import Status
from refruntime.differential.report.about import About
from refruntime.differential.run import Oracle
from refruntime.differential.verdict import EXIT_CRASH, EXIT_MISMATCH
from refruntime.engines.base import Limits
from refruntime.engines.declaration import read_declaration
from refruntime.resources import sources_hash


@dataclass(frozen=True)
class Asked:
    """The options that say how a build is met."""

    profile_path: Path | None
    identifies: str
    kernels: str
    timeout: float
    seals: bool
    as_json: bool


@dataclass(frozen=True)
class Packing:
    """A build for workers, and what a report says of it."""

    build: PackedBuild
    module: bytes
    about: About
    oracle: Oracle
    limits: Limits


def pack(path: Path, asked: Asked, words: Sequence[str]) -> Packing:
    """Meet a build and pack it; exit codes 1, 2 and 3 as those of `diff`."""
    module = read_build(path, asked.as_json)
    given = None if asked.profile_path is None else read_profile(asked.profile_path)
    resolved = resolved_contract(lambda: read_declaration(module), given, asked.as_json)
    limits = Limits.beside((), asked.timeout)
    engines = engines_of(path.name, module, limits, asked.as_json)
    numerics = make_numerics(asked.kernels, asked.as_json)
    met = meet(path.name, module, engines.fresh, resolved, asked.identifies, numerics, limits)
    if met.problem:
        refuse(EXIT_MISMATCH, f"{path.name} cannot be asked: {met.problem}", asked.as_json, problems=met.tried)
    fresh = met.fresh if asked.seals else engines.fresh
    profile = met.profile if asked.seals else met.resolved.profile
    with progress("asking what the build has"):
        found = find_features(fresh, profile)
    if not asked.seals:
        found = _without_seals(found)
    if found.required is not None:
        refuse(EXIT_MISMATCH, f"{path.name}: {found.refusal}", asked.as_json)
    oracle = Oracle(profile, numerics)
    engine = f"wasmtime {engines.facts['wasmtime']}, module of {engines.facts['bytes']} bytes"
    sha256 = hashlib.sha256(module).hexdigest()
    about = conditions(path.name, sha256, met.resolved, oracle, engine, words, asked.kernels, path)
    build = PackedBuild.of(path.name, module, fresh, profile, limits, asked.kernels, found)
    return Packing(build, module, about, oracle, limits)


def _without_seals(found: Found) -> Found:
    """Hold a build that gets no other checksums to that of the contract: it has SLM1 if it refuses no magic (SL-1)."""
    if found.absent.get("slm1") is not Status.InvalidHeader:
        return found
    absent = {name: status for name, status in found.absent.items() if name.partition("/")[0] != "slm1"}
    return Found(found.asked, absent)


def open_ledger(folder: Path | None, documents: dict[str, Any], as_json: bool, forms: Sequence[Any] = FORMS) -> Ledger:
    """Open the ledger of a folder, of results of these forms; exit code 2 for the folder of something else."""
    try:
        return Ledger.open(folder, documents, forms)
    except LedgerError as error:
        refuse(2, str(error), as_json)


def software(**others: str) -> dict[str, str]:
    """Return what results depend on besides builds and work: this package, to the byte, and other software."""
    return {"refruntime": __version__, "sources": sources_hash(), **others}


def need_hypothesis(as_json: bool) -> str:
    """Return the version of Hypothesis, on which the sessions depend; exit code 3 without it."""
    if find_spec("hypothesis") is None:
        refuse(3, "random sessions need Hypothesis: pip install 'refruntime[fuzz]'", as_json)
    from importlib.metadata import version

    return version("hypothesis")


def local_workers(jobs: int) -> Workers:
    """Return workers on this machine; of one job none is begun."""
    return in_this_process() if jobs == 1 else in_processes(jobs)


def trouble_lines(ran: Ran, ledger: Ledger) -> list[str]:
    """Say what went wrong with tasks and shards, if anything did."""
    lines = []
    if ran.again:
        lines.append(f"note: {ran.again} tasks were begun again, because what ran them died")
    lines += [f"note: {name} does not hold what its name says; its tasks were done again" for name in ledger.damaged]
    if ledger.duplicates:
        lines.append(f"note: {ledger.duplicates} results came twice and count once")
    lines += [
        f"NOT DONE: task {key[:12]} was given up after {MOST_TRIES} tries: {printable(text)}"
        for key, text in ran.lost.items()
    ]
    lines += [
        f"TWO RESULTS: task {key[:12]} gave different results; one of them is wrong" for key in sorted(ledger.conflicts)
    ]
    lines += [f"CRASH: task {key[:12]}\n{printable(text)}" for key, text in ran.crashes.items()]
    return lines


def trouble_code(ran: Ran, ledger: Ledger) -> int:
    """Return 4 where a task failed in itself or has two results, 1 where one was not done, else 0."""
    if ran.crashes or ledger.conflicts:
        return EXIT_CRASH
    return EXIT_MISMATCH if ran.lost else 0


def meeting_options(command: Command) -> Command:
    """Add the options that say how a build is met, and `--json`; the command gets them together, as `asked`."""

    @wraps(command)
    def with_asked(**words: Any) -> Any:
        asked = Asked(**{each.name: words.pop(each.name) for each in fields(Asked)})
        return command(asked=asked, **words)

    made = timeout_option(20.0)(kernels_option(json_option(with_asked)))
    made = click.option(
        "--seal/--no-seal",
        "seals",
        default=True,
        show_default=True,
        help="Give the build SLM1 files with the checksum that it computes itself, where it refuses the contract's.",
    )(made)
    return build_profile_option(identify_option(made))
