"""What every kind of `refruntime diff` shares: the contract to compare with, the conditions, the report."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn

import click
import numpy as np

from refruntime import __version__
from refruntime.commands.diff.live import Live
from refruntime.commands.files import write_file
from refruntime.commands.shared import printable, progress, write_json
from refruntime.contract.profile import Profile
from refruntime.differential.case_result import SuiteResult
from refruntime.differential.choice import first_choice
from refruntime.differential.report.about import About
from refruntime.differential.report.github import github_annotations
from refruntime.differential.report.json_document import JSON_VERSION, json_document
from refruntime.differential.report.junit import junit_xml
from refruntime.differential.run import Oracle
from refruntime.differential.verdict import FINE
from refruntime.engines.base import InvalidModule
from refruntime.engines.declaration import ContractRefused, Declaration, DeclarationError, Resolved, resolve_contract
from refruntime.hypotheses.explain import CauseExplanation
from refruntime.numerics import CompiledSeq32, Seq32
from refruntime.numerics.varied import Variation, Varied
from refruntime.show.markdown import markdown_report
from refruntime.show.page.diff import Extra, diff_page

HOST: Final = f"{platform.system()} {platform.machine()} ({sys.byteorder} endian), Python {platform.python_version()}"
VARIED: Final = "numbers are compared under a variation of seq32, which is no part of the contract (ID-4)"


def resolved_contract(declared: Callable[[], Declaration | None], given: Profile | None, as_json: bool) -> Resolved:
    """Choose the profile for what a build declares; exit code 2 when nothing fits."""
    try:
        return resolve_contract(declared(), given)
    except (DeclarationError, ContractRefused, InvalidModule) as error:
        refuse(2, str(error), as_json)


def make_numerics(kernels: str, as_json: bool, variation: Variation | None = None, threads: int | None = None) -> Seq32:
    """Return the oracle's numbers; exit code 3 when these kernels cannot be loaded."""
    try:
        return CompiledSeq32(threads, kernels) if variation is None else Varied(variation, threads, kernels)
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
    path: Path | None = None,
    options: Sequence[str] = (),
    models: Sequence[Path] = (),
) -> About:
    """Say what was compared with what.

    `words` are the arguments that give this comparison again; `path`, `options` and `models` as in About.
    """
    return About(
        build=build,
        sha256=sha256,
        profile=resolved.profile,
        profile_source=resolved.source,
        notes=(*resolved.notes, *([VARIED] if isinstance(oracle.numerics, Varied) else [])),
        facts={
            "engine": engine,
            "oracle": f"refruntime {__version__}, NumPy {np.__version__}",
            "numerics": f"{oracle.numerics.name}, kernels {kernels}",
            "host": HOST,
        },
        command=shlex.join(["refruntime", "diff", *words]),
        path=None if path is None else str(path),
        options=tuple(options),
        models=tuple(map(str, models)),
    )


def page_extra(
    oracle: Oracle, sources: Mapping[str, str], seen: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> Callable[[SuiteResult], Extra]:
    """Return what makes the parts that only the page shows: the sampler's choice in the first case that is not fine.

    `seen` holds by case, when all was compared, what a witness saw in the memory of the build. Where another cause
    explains every step, what was seen lay beside it and is not shown.
    """

    def extra(suite: SuiteResult) -> Extra:
        notable = [result for result in suite.cases if result.verdict not in FINE and result.run is not None]
        run = notable[0].run if notable else None
        told = (
            each.case.name
            for each in notable
            if isinstance(each.explanation, CauseExplanation) and each.explanation.observed
        )
        case = next((name for name in told if name in seen), "")
        return Extra(sources, None if run is None else first_choice(run, oracle), seen.get(case), case)

    return extra


def refuse(code: int, message: str, as_json: bool, problems: Sequence[object] = (), advice: str = "") -> NoReturn:
    """Say why nothing was compared, to people what to do about it as well, and exit."""
    if as_json:
        document = {
            "version": JSON_VERSION,
            "exit_code": code,
            "error": message,
            "problems": [str(p) for p in problems],
        }
        write_json(document)
    elif problems:
        click.echo(printable(message.partition(": ")[0] + ":"), err=True)
        for problem in problems:
            click.echo(printable(f"  {problem}"), err=True)
        if advice:
            click.echo(advice, err=True)
    else:
        context = click.get_current_context(silent=True)
        name = "diff" if context is None else context.info_name
        click.echo(f"refruntime {name}: {printable(message)}", err=True)
    raise click.exceptions.Exit(code)


@dataclass(frozen=True)
class Output:
    """Where the report goes, and how much of it (see Live). `extra` makes what only the page shows."""

    junit_path: Path | None
    github: bool
    as_json: bool
    verbosity: int = 0
    html_path: Path | None = None
    markdown_path: Path | None = None
    extra: Callable[[SuiteResult], Extra] = lambda _: Extra()

    def live(self, about: About) -> Live:
        """Begin the report for people; it stays silent where machines read."""
        live = Live(about, self.verbosity, silent=self.as_json)
        live.header()
        return live

    def show(
        self, result: SuiteResult, live: Live, gaps: Sequence[str] = (), new_profile: Path | None = None
    ) -> NoReturn:
        """End the report, write it in every form that was asked for, and exit; `gaps` say what a new profile holds."""
        about = live.about
        live.end(result)
        if self.as_json:
            document = {**json_document(result, about), "tracebacks": live.tracebacks}
            clean = result.exit_code == 0
            write_json({**document, **({"gaps": list(gaps), "clean_with_profile": clean} if gaps else {})})
        elif gaps:
            lines = ["", f"wrote the profile {new_profile}:", *(f"  {line}" for line in gaps)]
            click.echo(printable("\n".join(lines)))
        self.write_files(result, about)
        raise click.exceptions.Exit(result.exit_code)

    def write_files(self, result: SuiteResult, about: About) -> None:
        """Write JUnit XML, the HTML page, Markdown, annotations."""
        if self.junit_path is not None:
            write_file(self.junit_path, junit_xml(result, about))
        if self.html_path is not None:
            with progress("writing the page"):
                write_file(self.html_path, diff_page(result, about, self.extra(result)))
        if self.markdown_path is not None:
            write_file(self.markdown_path, markdown_report(result, about).encode())
        if self.github:
            for line in github_annotations(result, about):
                click.echo(printable(line), err=self.as_json)  # standard output holds the one document
