"""What `refruntime fuzz` tells: conditions, sums, what was reached, and each finding with the steps that lead to it."""

from __future__ import annotations

import shlex
from typing import Any, Final

import click

from refruntime.campaign.fuzzing import ENOUGH_STEPS
from refruntime.cases.steps import describe
from refruntime.commands.found import Judged, Told, finding_entry
from refruntime.commands.packing import trouble_code, trouble_lines
from refruntime.commands.shared import printable
from refruntime.differential.case_result import CaseResult
from refruntime.differential.report.about import header_lines, row
from refruntime.differential.report.case import found_lines
from refruntime.differential.verdict import EXIT_CRASH, EXIT_FINE, EXIT_INTERRUPTED, EXIT_MISMATCH, FINE, Verdict
from refruntime.show.text import count

SHOWN_MISSING: Final = 12
INDENT: Final = "    "


def exit_code(told: Told) -> int:
    """Return 4 for a bug of the oracle, 130 for an interrupt, 1 for a difference or too little reached, else 0."""
    verdicts = {each.result.verdict for each in told.findings} | {each.verdict for each in told.replayed}
    trouble = trouble_code(told.ran, told.ledger)
    if Verdict.ORACLE_CRASH in verdicts or trouble == EXIT_CRASH:
        return EXIT_CRASH
    if told.ran.interrupted:
        return EXIT_INTERRUPTED
    if told.findings or verdicts - FINE or trouble:
        return EXIT_MISMATCH
    if told.only_replay:
        return EXIT_FINE if told.replayed else EXIT_MISMATCH
    return EXIT_MISMATCH if not told.summary.steps or (missed(told) and long_enough(told)) else EXIT_FINE


def missed(told: Told) -> dict[str, list[str]]:
    """Return what was not reached, by part."""
    parts = told.summary.reached.parts(told.packing.build.profile)
    return {name: part.missing for name, part in parts.items() if part.missing}


def long_enough(told: Told) -> bool:
    """Say whether a run had time to reach everything."""
    return told.summary.steps >= ENOUGH_STEPS


def print_report(told: Told) -> None:
    """Print the report for people."""
    for line in [*header_lines(told.packing.about), *_sum_lines(told)]:
        click.echo(printable(line))
    for result in told.replayed:
        if result.verdict not in FINE:
            click.echo()
            _print_case(told, result)
    before = ""
    for place, judged in enumerate(told.findings, 1):
        click.echo(printable(f"\nFINDING {place}  {judged.group.name}   ({_count(judged)})"))
        if judged.first_number and judged.first_number == before:
            click.echo(f"{INDENT}the same first wrong number as the one before: most likely one cause")
        before = judged.first_number
        _print_case(told, judged.result)
        if judged.path is not None:
            click.echo(printable(row("  kept", str(judged.path), 2)))
    for line in trouble_lines(told.ran, told.ledger):
        click.echo(line)
    click.echo(printable(_last_line(told)))


def _sum_lines(told: Told) -> list[str]:
    lines = []
    if told.replayed:
        still = sum(result.verdict not in FINE for result in told.replayed)
        lines.append(row("replayed", f"{len(told.replayed)} kept sessions, {still} of them not fine"))
    if told.only_replay:
        return lines
    done = told.summary
    counts = f"{done.sessions:,} sessions, {done.steps:,} steps, {done.reached.calls:,} calls of exports on each side"
    lines.append(
        row("sessions", f"seed {told.seed}, {done.batches:,} batches: {counts}, {done.fields:,} fields compared")
    )
    parts = done.reached.parts(told.packing.build.profile)
    lines.append(row("reached", ", ".join(f"{len(p.reached)} of {len(p.wanted)} {name}" for name, p in parts.items())))
    for name, missing in missed(told).items():
        rest = f" and {len(missing) - SHOWN_MISSING} more" if len(missing) > SHOWN_MISSING else ""
        lines.append(row("missed", f"{name}: {', '.join(missing[:SHOWN_MISSING])}{rest}"))
    if done.undefined:
        lines.append(
            row("note", f"{done.undefined} sessions did what the contract leaves undefined and were not compared")
        )
    return lines


def _count(judged: Judged) -> str:
    group = judged.group
    calls = f"{group.document['calls']} calls"
    before = "" if group.calls_before is None else f", {group.calls_before} before shrinking"
    return f"in {group.batches} {'batch' if group.batches == 1 else 'batches'}; {calls}{before}"


def _print_case(told: Told, result: CaseResult) -> None:
    first = result.comparison.first
    for line in found_lines(result, told.packing.about):
        click.echo(printable("  " + line))
    for index, step in enumerate(result.case.steps):
        mark = "->" if first is not None and index == first.index else "  "
        click.echo(printable(f"{INDENT}{mark} {index} {describe(step)}"))
    if result.explanation is not None:
        for label, text in result.explanation.lines:
            click.echo(printable(row("  " + label, text, 2)))
    for line in result.crash.rstrip().splitlines():
        click.echo(printable(INDENT + line))


def _last_line(told: Told) -> str:
    if told.only_replay:
        still = sum(result.verdict not in FINE for result in told.replayed)
        return (
            f"{len(told.replayed)} kept sessions replayed: {still} differ" if told.replayed else "nothing was kept here"
        )
    if told.ran.interrupted:
        return f"interrupted: {told.summary.steps:,} steps were compared, {count(len(told.findings), 'finding')}"
    if not told.summary.steps:
        return "NOTHING WAS COMPARED: no batch was done"
    if told.findings:
        found = count(len(told.findings), "finding")
        return f"{found} in {told.summary.differing:,} of {told.summary.sessions:,} sessions"
    if missed(told) and long_enough(told):
        return "no session differs, BUT THE RUN MISSED what is named above, so it shows less than it should"
    if missed(told):
        return f"no session differs; too short to reach everything (from {ENOUGH_STEPS:,} steps on that is a failure)"
    return "no session differs"


def report_document(told: Told) -> dict[str, Any]:
    """Return the report for machines."""
    done, build = told.summary, told.packing.build
    parts = done.reached.parts(build.profile)
    return {
        "version": 1,
        "exit_code": exit_code(told),
        "conditions": build.document,
        "command": shlex.join(["refruntime", "fuzz", str(told.packing.about.path)]),
        "seed": told.seed,
        "batches": done.batches,
        "sessions": done.sessions,
        "steps": done.steps,
        "calls": done.reached.calls,
        "fields": done.fields,
        "tokens": done.tokens,
        "differing": done.differing,
        "undefined": done.undefined,
        "reached": {name: {"wanted": len(p.wanted), "reached": len(p.reached)} for name, p in parts.items()},
        "missed": missed(told),
        "long_enough": long_enough(told),
        "interrupted": told.ran.interrupted,
        "findings": [finding_entry(each) for each in told.findings],
        "replayed": [{"name": each.case.name, "verdict": str(each.verdict)} for each in told.replayed],
        "trouble": trouble_lines(told.ran, told.ledger),
    }
