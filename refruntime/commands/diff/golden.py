"""`refruntime diff --golden`: a build against the frozen answers, without the oracle."""

from __future__ import annotations

import hashlib
import math
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import click

from refruntime import __version__, resources
from refruntime.commands.diff.live import Live
from refruntime.commands.diff.report import Output, page_extra
from refruntime.commands.diff.selection import LastRun, check_filters
from refruntime.commands.files import UnreadableFile
from refruntime.commands.shared import progress, write_json
from refruntime.differential.report.about import About
from refruntime.differential.run import Oracle
from refruntime.differential.verdict import EXIT_MISMATCH, FINE
from refruntime.engines.base import EngineError, InterfaceMismatch, Limits
from refruntime.golden.corpus import Corpus
from refruntime.golden.reading import GoldenError
from refruntime.golden.report import golden_document, suite_with_samples, with_sample
from refruntime.golden.suite import Consumer, GoldenRun
from refruntime.visible import printable

EXIT_USAGE = 2


@dataclass(frozen=True)
class GoldenOptions:
    """What `refruntime diff --golden` was asked for."""

    folder: Path
    build: Path
    patterns: tuple[str, ...]
    seconds: float
    budget: float | None
    only_list: bool
    max_fail: int | None
    last_failed: bool
    output: Output

    @property
    def as_json(self) -> bool:
        """Say whether one document for machines is wanted."""
        return self.output.as_json


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
    until = math.inf if options.budget is None else time.monotonic() + options.budget
    sizes = (path.stat().st_size for path in options.folder.glob("models/*") if path.is_file())
    limits = Limits.beside(sizes, options.seconds, until)
    engines: dict[str, Any] = {}
    consumer = _open(options.folder, lambda: WasmEngine(engines["module"], limits))
    ids = consumer.ids(options.patterns)
    fitting = {pattern: bool(consumer.ids([pattern])) for pattern in options.patterns}
    check_filters(options.patterns, fitting, {id_: entry["rules"] for id_, entry in consumer.index["cases"].items()})
    if not ids:
        click.echo("no case fits the goldens: there are none", err=True)
        raise click.exceptions.Exit(EXIT_MISMATCH)
    last_run = LastRun(options.build, f"golden {options.folder.resolve()}")
    if options.last_failed:
        ids = last_run.chosen(ids)
    if options.only_list:
        _list(consumer, ids, options.as_json)
        return
    sha256 = hashlib.sha256(module).hexdigest()
    try:
        engines["module"] = WasmModule(module, limits)
    except InterfaceMismatch as error:
        _refuse_surface(options, consumer, sha256, error)
    except EngineError as error:
        click.echo(printable(f"refruntime diff: {error}"), err=True)
        raise click.exceptions.Exit(EXIT_USAGE) from error
    live = options.output.live(_about(options, consumer.index, sha256, str(engines["module"].info["wasmtime"])))
    run = _run(consumer, ids, options.max_fail, live)
    failed = [golden.id for golden in run.results if golden.verdict not in FINE]
    last_run.remember([golden.id for golden in run.results], failed)
    _report(options, run, sha256, live)


def _open(folder: Path, fresh: Any) -> Consumer:
    try:
        return Consumer(Corpus(folder), fresh)
    except GoldenError as error:
        _refuse(error)


def _run(consumer: Consumer, ids: Sequence[str], max_fail: int | None, live: Live) -> GoldenRun:
    with progress("comparing with the goldens", len(ids)) as bar:
        live.over(bar)
        try:
            return consumer.run(ids, lambda golden: live.after_case(with_sample(golden)), max_fail=max_fail)
        except GoldenError as error:
            _refuse(error)


def _refuse(error: GoldenError) -> NoReturn:
    click.echo(printable(f"refruntime diff: {error}"), err=True)
    raise click.exceptions.Exit(EXIT_MISMATCH) from error


def _report(options: GoldenOptions, run: GoldenRun, sha256: str, live: Live) -> None:
    suite = suite_with_samples(run)
    live.end(suite)
    if options.as_json:
        write_json(golden_document(run, options.build.name, sha256))
    output = replace(options.output, extra=page_extra(Oracle(live.about.profile), {}))
    output.write_files(suite, replace(live.about, path=str(options.build)))
    raise click.exceptions.Exit(suite.exit_code)


def _about(options: GoldenOptions, index: Mapping[str, Any], sha256: str, wasmtime: str) -> About:
    from refruntime.golden.index import profile_of

    return About(
        build=options.build.name,
        sha256=sha256,
        profile=profile_of(index),
        profile_source="of the goldens",
        facts={
            "goldens": f"format {index['format']}, root {index['root']}",
            "engine": f"wasmtime {wasmtime}, refruntime {__version__}",
            "host": f"{platform.system()} {platform.machine()} ({sys.byteorder} endian), "
            f"Python {platform.python_version()}",
        },
        command=shlex.join(["refruntime", "diff", str(options.build), "--golden", *_folder_words(options.folder)]),
        filters=options.patterns,
    )


def _folder_words(folder: Path) -> list[str]:
    return [] if folder == resources.golden_folder() else [str(folder)]


def _refuse_surface(options: GoldenOptions, consumer: Consumer, sha256: str, error: InterfaceMismatch) -> None:
    if options.as_json:
        run = GoldenRun(consumer.index, frozenset(), ())
        write_json(golden_document(run, options.build.name, sha256, error.problems))
    else:
        click.echo("the surface differs (ABI-1, ABI-2):", err=True)
        for problem in error.problems:
            click.echo(printable(f"  {problem}"), err=True)
    raise click.exceptions.Exit(EXIT_MISMATCH)


def _list(consumer: Consumer, ids: Sequence[str], as_json: bool) -> None:
    rules = {identifier: consumer.index["cases"][identifier]["rules"] for identifier in ids}
    if as_json:
        write_json({"cases": [{"id": identifier, "rules": cited} for identifier, cited in rules.items()]})
        return
    width = max(len(identifier) for identifier in rules)
    for identifier, cited in rules.items():
        click.echo(printable(f"{identifier:<{width}}  {', '.join(cited)}"))
