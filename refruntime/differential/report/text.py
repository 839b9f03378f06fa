"""Say what a comparison found, as text for people: conditions, divergences, summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from refruntime.differential.case_result import Family, SuiteResult
from refruntime.differential.report.about import About, header_lines
from refruntime.differential.report.case import case_lines
from refruntime.differential.verdict import FINE, Verdict

SHOWN_CASES: Final = 20
"""Diverging cases that the text report shows in full; the others are named."""
MOST_ABSENT: Final = 8
"""Absent features of one kind that the text report names."""


def table_rows(suite: SuiteResult) -> Iterator[tuple[str, ...]]:
    """Yield the summary by family: cases, steps, fields and tokens compared, verdicts; the last row is the sum."""
    for family in (*suite.families, suite.total):
        yield (
            family.name,
            *(str(n) for n in (family.cases, family.steps, family.fields, family.tokens)),
            counts(family),
        )


TABLE_HEADINGS: Final = ("family", "cases", "steps", "fields", "tokens", "verdicts")


def counts(family: Family) -> str:
    """Return how often a family has which verdict."""
    return ", ".join(f"{family.verdicts[verdict]} {verdict.label}" for verdict in Verdict if family.verdicts[verdict])


def table_lines(suite: SuiteResult) -> list[str]:
    """Return the summary as a plain table."""
    rows = [TABLE_HEADINGS, *table_rows(suite)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TABLE_HEADINGS))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if 0 < column < len(row) - 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def summary_lines(suite: SuiteResult) -> list[str]:
    """Return the table and what stands behind its words: what was lost, what did not run, what the verdicts mean."""
    lines = table_lines(suite)
    logits = [name for name in ("top_tokens", "logits_summary") if name in suite.offered]
    if suite.lost:
        names = ", ".join(f"{name} ({count}x)" for name, count in suite.lost.items())
        lines.append(f"not compared, because the build does not show it: {names}")
    if suite.total.steps and not logits:
        lines.append("the build shows no logits, so that only tokens and text show an error of its arithmetic")
    if suite.found.absent:
        lines += absent_lines(suite)
    ties = sum(len(result.ties) for result in suite.cases)
    if ties:
        lines.append(f"{ties} near ties: the build's token was followed")
    if suite.skipped:
        why = ", because the run was interrupted" if suite.interrupted else ""
        lines.append(f"{suite.skipped} cases did not run{why}")
    if suite.total.steps == 0:
        lines.append("nothing was compared")
    seen = suite.total.verdicts
    lines += [
        f"{verdict.label}: {verdict.meaning}" for verdict in Verdict if seen[verdict] and verdict is not Verdict.MATCH
    ]
    return lines


def absent_lines(suite: SuiteResult) -> list[str]:
    """Return what the build does not have, with the status of the refusal and the number of cases (ID-1).

    Features of one kind that are refused alike share a line; of very many it names the first, and the JSON has all.
    """
    groups: dict[tuple[str, str], dict[str, int]] = {}
    for name, cases in suite.absent.items():
        kind = name.rpartition("/")[0]
        groups.setdefault((kind or name, suite.found.absent[name].name), {})[name] = cases
    rows = [
        f"{kind if len(names) > 1 else next(iter(names))} ({status}, {sum(names.values())} cases)"
        + (f": {_named([name.rpartition('/')[2] for name in names])}" if len(names) > 1 else "")
        for (kind, status), names in groups.items()
    ]
    intro = "absent, because the build refuses a plain file of it:"
    return [f"{intro} {rows[0]}"] if len(rows) == 1 else [intro, *(f"  {row}" for row in rows)]


def _named(names: list[str]) -> str:
    rest = len(names) - MOST_ABSENT
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:MOST_ABSENT])} and {rest} more"


def text_report(suite: SuiteResult, about: About, tracebacks: Mapping[str, str] | None = None) -> str:
    """Return the whole report for people: conditions, divergences, summary.

    `tracebacks` maps the names of crashed cases to the files that hold their tracebacks.
    """
    saved = tracebacks or {}
    blocks = [header_lines(about)]
    notable = [result for result in suite.cases if result.verdict not in FINE]
    blocks += [case_lines(result, about, saved.get(result.case.name, "")) for result in notable[:SHOWN_CASES]]
    if len(notable) > SHOWN_CASES:
        rest = [f"  {result.verdict} {result.case.name}" for result in notable[SHOWN_CASES:]]
        blocks.append([f"{len(rest)} more:", *rest])
    blocks.append(summary_lines(suite))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"
