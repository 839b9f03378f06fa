"""`refruntime fuzz`: random sessions on a build and on the oracle."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from refruntime.campaign.fuzzing import MOST_SHRUNK, Summary, fuzz, shrink
from refruntime.campaign.ledger import Ledger
from refruntime.campaign.packed import PackedBuild, content_hash
from refruntime.campaign.run import Ran
from refruntime.campaign.tasks import Task
from refruntime.campaign.workers import Workers
from refruntime.commands.files import UnreadableFile, folder_option
from refruntime.commands.found import Finder, Told
from refruntime.commands.fuzz_report import exit_code, print_report, report_document
from refruntime.commands.packing import (
    Asked,
    local_workers,
    meeting_options,
    need_hypothesis,
    open_ledger,
    pack,
    software,
)
from refruntime.commands.shared import progress, write_json
from refruntime.golden.reading import GoldenError
from refruntime.numerics.compiled.threads import processors


@click.command(
    "fuzz",
    epilog="""\b
Examples:
  refruntime fuzz build.wasm
  refruntime fuzz build.wasm --minutes 30 --jobs 4 --corpus found
  refruntime fuzz build.wasm --seed 7 --batches 20 --json | jq .findings
  refruntime fuzz build.wasm --corpus found --replay
""",
)
@click.argument("build", type=click.Path(path_type=Path))
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, help="Seed of the sessions.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Minutes after which no batch begins.  [default: 1, unless --batches is given]",
)
@click.option("--batches", metavar="N", type=click.IntRange(min=1), help="Run the first N batches of the seed.")
@click.option(
    "-j",
    "--jobs",
    metavar="N",
    type=click.IntRange(min=1),
    help="Run in N processes.  [default: as many as there are processors]",
)
@folder_option(
    "--corpus",
    help="Keep findings as replayable cases here, and what was run: a later run replays them and goes on from there.",
)
@click.option("--replay", "only_replay", is_flag=True, help="Only replay the cases of --corpus.")
@meeting_options
@click.option(
    "--explain/--no-explain", "explains", default=True, show_default=True, help="Try known causes on what is found."
)
def fuzz_command(
    build: Path,
    seed: int,
    minutes: float | None,
    batches: int | None,
    jobs: int | None,
    corpus: Path | None,
    only_replay: bool,
    explains: bool,
    asked: Asked,
) -> None:
    """Run random sessions over the 13 exports on the module BUILD and on the oracle, and shrink where they differ.

    A batch has a hundred sessions; the same seed gives the same ones. Exit codes: 0 nothing differs; 1 something does,
    or a run that was long enough did not reach every situation, status and transition; 2 wrong usage; 3 a missing tool
    or file; 4 a bug in the oracle.
    """
    if only_replay and corpus is None:
        raise click.UsageError("--replay needs --corpus.")
    if batches is None and minutes is None:
        minutes = 1.0
    as_json = asked.as_json
    hypothesis = need_hypothesis(as_json)
    options = [] if asked.profile_path is None else ["--profile", str(asked.profile_path)]
    packing = pack(build, asked, [str(build), *options])
    finder = Finder(packing, corpus, explains)
    try:
        replayed = finder.replay()
        ran, summary, ledger = Ran(), Summary(), Ledger(None, {})
        if not only_replay:
            document = {key: value for key, value in packing.build.document.items() if key != "build"}
            conditions = {**software(hypothesis=hypothesis), "builds": [document]}
            where = None if corpus is None else corpus / "runs" / content_hash(conditions)[:16]
            ledger = open_ledger(where, conditions, as_json)
            until = math.inf if minutes is None else time.monotonic() + 60 * minutes
            workers = local_workers(jobs or processors())
            summary, ran = _run(packing.build, seed, batches, until, workers, ledger)
        findings = finder.findings(summary)
    except GoldenError as error:
        raise click.UsageError(f"--corpus: {error}") from error
    except OSError as error:
        raise UnreadableFile(f"{error.filename or corpus}: {error.strerror or error}; what is kept is whole") from error
    told = Told(packing, seed, summary, findings, replayed, ran, ledger, only_replay)
    if as_json:
        write_json(report_document(told))
    else:
        print_report(told)
    raise click.exceptions.Exit(exit_code(told))


def _run(
    build: PackedBuild, seed: int, batches: int | None, until: float, workers: Workers, ledger: Ledger
) -> tuple[Summary, Ran]:
    """Run batches, then shrink what they found."""
    steps = differing = 0
    with progress("fuzzing", batches) as bar:

        def told(_: Task, result: Mapping[str, Any]) -> None:
            nonlocal steps, differing
            steps, differing = steps + result["steps"], differing + result["differing"]
            bar.describe(f"fuzzing: {steps:,} steps, {differing:,} sessions differ")
            bar(1)

        summary, ran = fuzz(
            build, seed, ledger, workers, batches=batches, stop=lambda: time.monotonic() >= until, told=told
        )
    if not ran.interrupted and summary.groups:
        with progress("shrinking", min(len(summary.groups), MOST_SHRUNK)) as bar:
            ran.merge(shrink(summary, ledger, workers, told=lambda _, __: bar(1)))
    return summary, ran
