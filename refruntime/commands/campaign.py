"""`refruntime campaign`: cases times builds on many workers, each result counted once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from refruntime.battery.catalogue import default_battery
from refruntime.campaign.fuzzing import shrink
from refruntime.campaign.ledger import Ledger
from refruntime.campaign.matrix import FUZZ, Column, Work, all_tasks, column_of, groups_of, rows_of
from refruntime.campaign.run import Ran, run_tasks
from refruntime.campaign.tasks import Task, chosen_cases
from refruntime.campaign.workers import LOCAL, NoCluster, Workers, on_cluster
from refruntime.commands.diff.report import refuse
from refruntime.commands.diff.selection import check_filters
from refruntime.commands.files import UnreadableFile
from refruntime.commands.packing import (
    Asked,
    Packing,
    local_workers,
    meeting_options,
    need_hypothesis,
    open_ledger,
    pack,
    software,
    trouble_code,
    trouble_lines,
)
from refruntime.commands.shared import add_row, plain_table, printable, progress, write_json
from refruntime.contract.profile import Profile
from refruntime.differential.verdict import EXIT_CRASH, EXIT_FINE, EXIT_INTERRUPTED, EXIT_MISMATCH, Verdict
from refruntime.numerics.compiled.threads import processors

SHOWN_GROUPS: Final = 8


@click.command(
    "campaign",
    epilog="""\b
Examples:
  refruntime campaign results build.wasm
  refruntime campaign results old.wasm new.wasm --jobs 4
  refruntime campaign results build.wasm --fuzz 1000 --seed 7 --cluster local
  refruntime campaign results build-*.wasm --random 5000 --cluster tcp://10.0.0.1:8786
""",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.argument("builds", metavar="BUILD...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--filter", "patterns", metavar="PATTERN", multiple=True, help="Only these cases of the battery, as for `diff`."
)
@click.option("--random", metavar="N", type=click.IntRange(min=1), help="Run N random sessions of --seed.")
@click.option("--fuzz", "batches", metavar="N", type=click.IntRange(min=1), help="Run N batches as `fuzz` does.")
@click.option(
    "--seed", type=click.IntRange(0, 2**31), default=1, show_default=True, help="Seed of --random and --fuzz."
)
@click.option(
    "-j", "--jobs", metavar="N", type=click.IntRange(min=1), help="Run in N processes.  [default: one a processor]"
)
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Run on the Dask scheduler at this address, such as tcp://host:8786; `local` begins one here with --jobs "
    "workers. The workers need this version of refruntime.",
)
@meeting_options
def campaign_command(
    folder: Path,
    builds: tuple[Path, ...],
    patterns: tuple[str, ...],
    random: int | None,
    batches: int | None,
    seed: int,
    jobs: int | None,
    cluster: str | None,
    asked: Asked,
) -> None:
    """Compare every BUILD with the oracle, and keep each result in DIR, which is empty at first.

    Without --random and --fuzz the whole battery runs. The same command goes on where it was interrupted, whatever
    ended it; each result counts once. Exit codes: 0 every build is fine; 1 some is not, or something was not done; 2
    wrong usage; 3 a missing tool or file; 4 a bug in the oracle; 130 interrupted.
    """
    as_json = asked.as_json
    work = Work(patterns, not (random or batches) or bool(patterns), random or 0, batches or 0, seed)
    others = {"hypothesis": need_hypothesis(as_json)} if batches else {}
    if cluster is not None and cluster != LOCAL and not re.fullmatch(r"[a-z]+://[^/]+:\d+/?", cluster):
        raise click.UsageError(
            f"--cluster: {printable(cluster)!r} is neither `local` nor an address such as tcp://host:8786."
        )
    if len({str(path) for path in builds}) < len(builds):
        raise click.UsageError("a BUILD is named twice.")
    packings = [pack(path, asked, [str(folder), str(path)]) for path in builds]
    _check_patterns(patterns, packings[0].build.profile)
    documents = [{**packing.build.document, "path": str(path)} for packing, path in zip(packings, builds, strict=True)]
    try:
        ledger = open_ledger(folder, {**software(**others), "work": work.document, "builds": documents}, as_json)
        workers = local_workers(jobs or processors()) if cluster is None else on_cluster(cluster, jobs or processors())
        ran, columns = _run(work, packings, ledger, workers)
    except NoCluster as error:
        refuse(3, str(error), as_json)
    except OSError as error:
        raise UnreadableFile(f"{error.filename or folder}: {error.strerror or error}; what is kept is whole") from error
    names = [str(path) for path in builds]
    code = _exit_code(ran, ledger, columns)
    if as_json:
        write_json(_document(code, work, names, columns, ran, ledger))
    else:
        _print(names, columns, ran, ledger)
    raise click.exceptions.Exit(code)


def _run(work: Work, packings: Sequence[Packing], ledger: Ledger, workers: Workers) -> tuple[Ran, list[Column]]:
    builds = [packing.build for packing in packings]
    with progress("making the cases"):
        total = sum(len(work.diff_tasks(build)) + len(work.fuzz_tasks(build)) for build in builds)
    with progress("comparing", total) as bar:

        def told(task: Task, _: Mapping[str, Any]) -> None:
            bar.describe(f"comparing {task.build.name}")
            bar(1)

        ran = run_tasks(all_tasks(work, builds), ledger, workers, told)
    columns = [column_of(work, build, ledger) for build in builds]
    for column in columns:
        if column.fuzz.groups and not ran.interrupted:
            with progress("shrinking"):
                ran.merge(shrink(column.fuzz, ledger, workers))
    return ran, columns


def _check_patterns(patterns: Sequence[str], profile: Profile) -> None:
    fitting = {pattern: bool(chosen_cases(profile, (pattern,), None)) for pattern in patterns}
    if not all(fitting.values()):
        check_filters(patterns, fitting, {case.name: case.rules for case in default_battery(profile)})


def _exit_code(ran: Ran, ledger: Ledger, columns: Sequence[Column]) -> int:
    if trouble_code(ran, ledger) == EXIT_CRASH or any(Verdict.ORACLE_CRASH in column.verdicts for column in columns):
        return EXIT_CRASH
    if ran.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FINE if all(column.fine for column in columns) and not ran.lost else EXIT_MISMATCH


# What is told --------------------------------------------------------------------------------------------------------


def _print(names: Sequence[str], columns: Sequence[Column], ran: Ran, ledger: Ledger) -> None:
    console = Console()
    table = plain_table("build", "steps", *rows_of(columns), right=("steps", *rows_of(columns)))
    for name, column in zip(names, columns, strict=True):
        add_row(table, printable(name), f"{column.steps:,}", *(_cell(column, family) for family in rows_of(columns)))
    console.print(table)
    for name, column in zip(names, columns, strict=True):
        _print_column(name, column)
    for line in trouble_lines(ran, ledger):
        click.echo(line)
    if ran.interrupted:
        click.echo("interrupted; the same command goes on from here")
    fine = sum(column.fine for column in columns)
    kept = f"{len(ledger.results):,} results kept, {ran.done:,} of them new"
    click.echo(f"{kept}; {fine} of {len(columns)} builds {'is' if len(columns) == 1 else 'are'} fine")


def _cell(column: Column, family: str) -> str:
    fine, total = column.cell(family)
    return "-" if not total else f"{fine:,}" if fine == total else f"{fine:,} of {total:,}"


def _print_column(name: str, column: Column) -> None:
    if column.missing:
        click.echo(printable(f"\n{name}: {column.missing:,} cases or batches were not done"))
    groups = groups_of(column)
    if groups or column.fuzz.groups:
        click.echo(printable(f"\n{name}: the first differences"))
    for group, cases in list(groups.items())[:SHOWN_GROUPS]:
        click.echo(printable(f"  {len(cases):>5} x {group}   ({cases[0]})"))
    if len(groups) > SHOWN_GROUPS:
        click.echo(f"        and {len(groups) - SHOWN_GROUPS} more; --json has all")
    for found in column.fuzz.ordered[:SHOWN_GROUPS]:
        click.echo(printable(f"  {FUZZ:>5} | {found.name}   ({found.document['calls']} calls)"))


def _document(
    code: int, work: Work, names: Sequence[str], columns: Sequence[Column], ran: Ran, ledger: Ledger
) -> dict[str, Any]:
    return {
        "version": 1,
        "exit_code": code,
        "work": work.document,
        "builds": [_column(name, column) for name, column in zip(names, columns, strict=True)],
        "results": len(ledger.results),
        "new": ran.done,
        "begun_again": ran.again,
        "counted_once": ledger.duplicates,
        "interrupted": ran.interrupted,
        "trouble": trouble_lines(ran, ledger),
    }


def _column(name: str, column: Column) -> dict[str, Any]:
    return {
        "build": name,
        "conditions": column.build.document,
        "fine": column.fine,
        "steps": column.steps,
        "missing": column.missing,
        "families": {family: dict(sorted(counts.items())) for family, counts in column.families.items()},
        "cases": list(column.cases.values()),
        "fuzz": {
            "sessions": column.fuzz.sessions,
            "differing": column.fuzz.differing,
            "calls": column.fuzz.reached.calls,
            "findings": [{"batches": found.batches, **found.document} for found in column.fuzz.ordered],
        },
    }
