"""`refruntime diff --golden`: a build against the frozen answers, without the oracle."""

from __future__ import annotations

import hashlib
import math
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click

from refruntime import __version__, resources
from refruntime.commands.diff.engines import read_build
from refruntime.commands.diff.live import Live
from refruntime.commands.diff.report import HOST, page_extra
from refruntime.commands.diff.request import GoldenRequest
from refruntime.commands.diff.selection import LastRun, check_filters
from refruntime.commands.shared import progress, write_json
from refruntime.differential.case_result import SuiteResult
from refruntime.differential.report.about import About
from refruntime.differential.run import Oracle
from refruntime.differential.verdict import EXIT_MISMATCH, FINE
from refruntime.engines.base import EngineError, InterfaceMismatch, Limits
from refruntime.golden.corpus import Corpus
from refruntime.golden.reading import GoldenError
from refruntime.golden.report import golden_document
from refruntime.golden.suite import GoldenSuite, golden_suite
from refruntime.visible import printable

EXIT_USAGE = 2


def diff_goldens(request: GoldenRequest) -> None:
    """Run the goldens on a build, report, and exit: 0 every verdict is fine, 1 not, 2 no module, 3 a missing file."""
    from refruntime.engines.wasm import WasmEngine, WasmModule

    module = read_build(request.build, request.as_json)
    until = math.inf if request.run.budget is None else time.monotonic() + request.run.budget
    sizes = (path.stat().st_size for path in request.folder.glob("models/*") if path.is_file())
    limits = Limits.beside(sizes, request.run.seconds, until)
    engines: dict[str, Any] = {}
    with _right_goldens():
        goldens = golden_suite(Corpus(request.folder), lambda: WasmEngine(engines["module"], limits))
    ids = goldens.ids(request.patterns)
    fitting = {pattern: bool(goldens.ids([pattern])) for pattern in request.patterns}
    check_filters(request.patterns, fitting, {id_: entry["rules"] for id_, entry in goldens.index["cases"].items()})
    if not ids:
        click.echo("no case fits the goldens: there are none", err=True)
        raise click.exceptions.Exit(EXIT_MISMATCH)
    last_run = LastRun(request.build, f"golden {request.folder.resolve()}")
    if request.run.last_failed:
        ids = last_run.chosen(ids)
    if request.run.only_list:
        _list(goldens, ids, request.as_json)
        return
    sha256 = hashlib.sha256(module).hexdigest()
    try:
        engines["module"] = WasmModule(module, limits)
    except InterfaceMismatch as error:
        _refuse_surface(request, goldens, sha256, error)
    except EngineError as error:
        click.echo(printable(f"refruntime diff: {error}"), err=True)
        raise click.exceptions.Exit(EXIT_USAGE) from error
    live = request.output.live(_about(request, goldens.index, sha256, str(engines["module"].info["wasmtime"])))
    with _right_goldens(), progress("comparing with the goldens", len(ids)) as bar:
        live.over(bar)
        run = goldens.run(goldens.cases(ids), after_case=live.after_case, max_fail=request.run.max_fail)
    failed = [result.case.name for result in run.cases if result.verdict not in FINE]
    last_run.remember([result.case.name for result in run.cases], failed)
    _report(request, run, goldens.index, sha256, live)


@contextmanager
def _right_goldens() -> Iterator[None]:
    """Say what is wrong with the goldens themselves, and exit."""
    try:
        yield
    except GoldenError as error:
        click.echo(printable(f"refruntime diff: {error}"), err=True)
        raise click.exceptions.Exit(EXIT_MISMATCH) from error


def _report(request: GoldenRequest, suite: SuiteResult, index: Mapping[str, Any], sha256: str, live: Live) -> None:
    live.end(suite)
    if request.as_json:
        write_json(golden_document(suite, index, request.build.name, sha256))
    output = replace(request.output, extra=page_extra(Oracle(live.about.profile), {}))
    output.write_files(suite, replace(live.about, path=str(request.build)))
    raise click.exceptions.Exit(suite.exit_code)


def _about(request: GoldenRequest, index: Mapping[str, Any], sha256: str, wasmtime: str) -> About:
    from refruntime.golden.index import profile_of

    folder = [] if request.folder == resources.golden_folder() else [str(request.folder)]
    return About(
        build=request.build.name,
        sha256=sha256,
        profile=profile_of(index),
        profile_source="of the goldens",
        facts={
            "goldens": f"format {index['format']}, root {index['root']}",
            "engine": f"wasmtime {wasmtime}, refruntime {__version__}",
            "host": HOST,
        },
        command=shlex.join(["refruntime", "diff", str(request.build), "--golden", *folder]),
        filters=request.patterns,
    )


def _refuse_surface(request: GoldenRequest, goldens: GoldenSuite, sha256: str, error: InterfaceMismatch) -> None:
    if request.as_json:
        nothing = SuiteResult((), frozenset())
        write_json(golden_document(nothing, goldens.index, request.build.name, sha256, error.problems))
    else:
        click.echo("the surface differs (ABI-1, ABI-2):", err=True)
        for problem in error.problems:
            click.echo(printable(f"  {problem}"), err=True)
    raise click.exceptions.Exit(EXIT_MISMATCH)


def _list(goldens: GoldenSuite, ids: Sequence[str], as_json: bool) -> None:
    rules = {identifier: goldens.index["cases"][identifier]["rules"] for identifier in ids}
    if as_json:
        write_json({"cases": [{"id": identifier, "rules": cited} for identifier, cited in rules.items()]})
        return
    width = max(len(identifier) for identifier in rules)
    for identifier, cited in rules.items():
        click.echo(printable(f"{identifier:<{width}}  {', '.join(cited)}"))
