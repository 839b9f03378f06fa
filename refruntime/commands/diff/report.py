"""What every kind of `refruntime diff` shares: the contract to compare with, the conditions, the report."""

from __future__ import annotations

import platform
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click
import numpy as np

from refruntime import __version__
from refruntime.commands.files import write_file
from refruntime.commands.shared import write_json
from refruntime.contract.profile import Profile
from refruntime.differential.report.json_document import JSON_VERSION, json_document
from refruntime.differential.report.junit import junit_xml
from refruntime.differential.report.text import About, github_annotations, text_report
from refruntime.differential.run import Oracle
from refruntime.differential.suite import SuiteResult
from refruntime.engines.base import InvalidModule
from refruntime.engines.declaration import ContractRefused, Declaration, DeclarationError, Resolved, resolve_contract
from refruntime.hypotheses.gaps import GapReport
from refruntime.numerics import Seq32


def resolved_contract(declared: Callable[[], Declaration | None], given: Profile | None, as_json: bool) -> Resolved:
    """Choose the profile for what a build declares; exit code 2 when nothing fits."""
    try:
        return resolve_contract(declared(), given)
    except (DeclarationError, ContractRefused, InvalidModule) as error:
        refuse(2, str(error), as_json)


def make_numerics(kernels: str, as_json: bool) -> Seq32:
    """Return the oracle's numbers; exit code 3 when these kernels cannot be loaded."""
    try:
        return Seq32(kernels=kernels)
    except ImportError as error:
        refuse(3, f"the {kernels} kernels cannot be loaded: {error}", as_json)


def conditions(
    build: str,
    sha256: str,
    resolved: Resolved,
    oracle: Oracle,
    engine: str,
    words: Sequence[str],
    kernels: str,
) -> About:
    """Say what was compared with what; `words` are the arguments that give this comparison again."""
    return About(
        build=build,
        sha256=sha256,
        profile=resolved.profile,
        profile_source=resolved.source,
        notes=resolved.notes,
        facts={
            "engine": engine,
            "oracle": f"refruntime {__version__}, NumPy {np.__version__}",
            "numerics": f"{oracle.numerics.name}, kernels {kernels}",
            "host": f"{platform.system()} {platform.machine()} ({sys.byteorder} endian), "
            f"Python {platform.python_version()}",
        },
        command=shlex.join(["refruntime", "diff", *words]),
    )


def refuse(code: int, message: str, as_json: bool, problems: Sequence[object] = ()) -> NoReturn:
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


@dataclass(frozen=True)
class Output:
    """Where the report goes."""

    junit_path: Path | None
    github: bool
    as_json: bool

    def show(
        self, result: SuiteResult, about: About, gaps: GapReport | None = None, new_profile: Path | None = None
    ) -> NoReturn:
        """Write the report in every form that was asked for, and exit."""
        tracebacks = _save_tracebacks(result)
        if self.junit_path is not None:
            write_file(self.junit_path, junit_xml(result, about))
        if self.as_json:
            document = {**json_document(result, about), "tracebacks": tracebacks}
            found = {} if gaps is None else {"gaps": gaps.lines, "clean_with_profile": gaps.clean}
            write_json({**document, **found})
        else:
            click.echo(text_report(result, about, tracebacks), nl=False)
            if gaps is not None:
                click.echo("\n".join(["", f"wrote the profile {new_profile}:", *(f"  {line}" for line in gaps.lines)]))
        if self.github:
            for line in github_annotations(result, about):
                click.echo(line, err=self.as_json)  # standard output holds the one document
        raise click.exceptions.Exit(result.exit_code)


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
