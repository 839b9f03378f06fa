"""`refruntime diff --golden`: a build against the frozen answers, without the oracle."""

from __future__ import annotations

import hashlib
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from refruntime import __version__, resources
from refruntime.commands.files import UnreadableFile, write_file
from refruntime.commands.shared import progress, write_json
from refruntime.differential.report.junit import junit_xml
from refruntime.differential.report.text import About, github_annotations, text_report
from refruntime.differential.verdict import EXIT_MISMATCH
from refruntime.engines.base import EngineError, InterfaceMismatch, Limits
from refruntime.golden.corpus import Corpus
from refruntime.golden.reading import GoldenError
from refruntime.golden.report import golden_document, suite_with_samples
from refruntime.golden.suite import Consumer, GoldenRun

EXIT_USAGE = 2


@dataclass(frozen=True)
class GoldenOptions:
    """What `refruntime diff --golden` was asked for."""

    folder: Path
    build: Path
    patterns: tuple[str, ...]
    seconds: float
    only_list: bool
    fail_fast: bool
    junit: Path | None
    github: bool
    as_json: bool


def golden_folder(value: str | None, build: Path | None) -> tuple[Path, Path]:
    """Return folder and build of `--golden [DIR] BUILD`; without BUILD the value of the option is the build."""
    if build is None:
        if not value:
            raise click.UsageError("Missing argument 'BUILD'.")
        value, build = "", Path(value)
    folder = Path(value) if value else resources.golden_folder()
    if not folder.is_dir():
        raise UnreadableFile(f"{folder}: there is no such folder of goldens")
    return folder, build


def diff_goldens(options: GoldenOptions) -> None:
    """Run the goldens on a build, report, and exit: 0 every verdict is fine, 1 not, 2 no module, 3 a missing file."""
    from refruntime.engines.wasm import WasmEngine, WasmModule

    try:
        module = options.build.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"{options.build}: {error.strerror or error}") from error
    limits = Limits(seconds=options.seconds)
    engines: dict[str, Any] = {}
    consumer = _open(options.folder, lambda: WasmEngine(engines["module"], limits))
    ids = consumer.ids(options.patterns)
    if not ids:
        click.echo(f"no case fits {', '.join(options.patterns) or 'the goldens: there are none'}", err=True)
        raise click.exceptions.Exit(EXIT_MISMATCH)
    if options.only_list:
        _list(consumer, ids, options.as_json)
        return
    sha256 = hashlib.sha256(module).hexdigest()
    try:
        engines["module"] = WasmModule(module, limits)
    except InterfaceMismatch as error:
        _refuse_surface(options, consumer, sha256, error)
    except EngineError as error:
        click.echo(f"refruntime diff: {error}", err=True)
        raise click.exceptions.Exit(EXIT_USAGE) from error
    run = _run(consumer, ids, options.fail_fast)
    _report(options, run, sha256, str(engines["module"].info["wasmtime"]))


def _open(folder: Path, fresh: Any) -> Consumer:
    try:
        return Consumer(Corpus(folder), fresh)
    except GoldenError as error:
        _refuse(error)


def _run(consumer: Consumer, ids: Sequence[str], fail_fast: bool) -> GoldenRun:
    with progress("comparing with the goldens", len(ids)) as advance:
        try:
            return consumer.run(ids, lambda _: advance(1), fail_fast=fail_fast)
        except GoldenError as error:
            _refuse(error)


def _refuse(error: GoldenError) -> NoReturn:
    click.echo(f"refruntime diff: {error}", err=True)
    raise click.exceptions.Exit(EXIT_MISMATCH) from error


def _report(options: GoldenOptions, run: GoldenRun, sha256: str, wasmtime: str) -> None:
    suite = suite_with_samples(run)
    about = _about(options, run, sha256, wasmtime)
    if options.junit is not None:
        write_file(options.junit, junit_xml(suite, about))
    if options.as_json:
        write_json(golden_document(run, options.build.name, sha256))
    else:
        click.echo(text_report(suite, about), nl=False)
    if options.github:
        for line in github_annotations(suite, about):
            click.echo(line, err=options.as_json)  # standard output holds the one document
    raise click.exceptions.Exit(suite.exit_code)


def _about(options: GoldenOptions, run: GoldenRun, sha256: str, wasmtime: str) -> About:
    from refruntime.golden.index import profile_of

    return About(
        build=options.build.name,
        sha256=sha256,
        profile=profile_of(run.index),
        profile_source="of the goldens",
        facts={
            "goldens": f"format {run.index['format']}, root {run.index['root']}",
            "engine": f"wasmtime {wasmtime}, refruntime {__version__}",
            "host": f"{platform.system()} {platform.machine()} ({sys.byteorder} endian), "
            f"Python {platform.python_version()}",
        },
        command=shlex.join(["refruntime", "diff", "--golden", str(options.folder), str(options.build)]),
    )


def _refuse_surface(options: GoldenOptions, consumer: Consumer, sha256: str, error: InterfaceMismatch) -> None:
    if options.as_json:
        run = GoldenRun(consumer.index, frozenset(), ())
        write_json(golden_document(run, options.build.name, sha256, error.problems))
    else:
        click.echo("the surface differs (ABI-1, ABI-2):", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
    raise click.exceptions.Exit(EXIT_MISMATCH)


def _list(consumer: Consumer, ids: Sequence[str], as_json: bool) -> None:
    rules = {identifier: consumer.index["cases"][identifier]["rules"] for identifier in ids}
    if as_json:
        write_json({"cases": [{"id": identifier, "rules": cited} for identifier, cited in rules.items()]})
        return
    width = max(len(identifier) for identifier in rules)
    for identifier, cited in rules.items():
        click.echo(f"{identifier:<{width}}  {', '.join(cited)}")
