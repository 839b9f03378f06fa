"""Say what a comparison found, as text for people and as annotations for GitHub."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from refruntime.cases.steps import describe
from refruntime.contract.profile import CONTRACT_VERSION, Profile
from refruntime.differential.compare import Difference
from refruntime.differential.near_tie import Flip
from refruntime.differential.suite import CaseResult, Family, SuiteResult
from refruntime.differential.verdict import FINE, MEANINGS, Verdict

LABEL: Final = 9
SHOWN_TEXT: Final = 60
SHOWN_CASES: Final = 20
"""Diverging cases that the text report shows in full; the others are named."""


@dataclass(frozen=True)
class About:
    """What was compared under which conditions. `build` is the name to show; `facts` are further (label, value)."""

    build: str
    sha256: str
    profile: Profile
    profile_source: str = "assumed"
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    command: str = "refruntime diff"


# Text ----------------------------------------------------------------------------------------------------------------


def header_lines(about: About) -> list[str]:
    """Return the conditions of the comparison, one fact a line."""
    differences = about.profile.differences()
    changed = ", ".join(f"{key} = {value}" for key, value in differences.items())
    lines = [
        _row("build", f"{about.build}  sha256 {about.sha256}"),
        _row("contract", f"{CONTRACT_VERSION} ({about.profile_source})"),
        _row("profile", f"{about.profile.fingerprint}  {changed or 'every switch has its default'}"),
    ]
    lines += [_row(label, value) for label, value in about.facts.items()]
    return lines + [_row("note", note) for note in about.notes]


def case_lines(result: CaseResult, about: About, traceback: str = "") -> list[str]:
    """Return what happened in one case: the verdict, the first divergence, the margin, the way to see it again.

    `traceback` is the file that holds the traceback of a crash; without it the report shows the traceback itself.
    """
    head = f"{result.verdict} {result.case.name} [{about.build}]"
    lines = []
    first = result.comparison.first
    if first is not None and first.index < len(result.case.steps):
        head += f"  step {first.index} {describe(result.case.steps[first.index])}   ({_matched(first.index)})"
    lines.append(head)
    if result.reason:
        lines.append(_row("  reason", result.reason, 2))
    if result.flip is not None:
        lines += _flip_lines(result.flip)
    if first is not None:
        lines += [line for item in result.comparison.differences for line in _difference_lines(item)]
    if result.explanation is not None:
        lines += [_row("  " + label, text, 2) for label, text in result.explanation.lines]
    if traceback:
        lines.append(_row("  crash", f"{result.crash.rstrip().splitlines()[-1]}; traceback in {traceback}", 2))
    elif result.crash:
        lines += ["  " + line for line in result.crash.rstrip().splitlines()]
    rules = ", ".join(result.case.rules)
    lines.append(
        _row("  repro", f"{about.command} --filter {result.case.name}" + (f"   ({rules})" if rules else ""), 2)
    )
    return lines


def _matched(index: int) -> str:
    return "no step before" if index == 0 else "step 0 matches" if index == 1 else f"steps 0-{index - 1} match"


def _flip_lines(flip: Flip) -> list[str]:
    sides = f"oracle {_token(flip.reference_token, flip.reference_text)}    build "
    unit = " of the mass" if flip.drawn else ""
    verdict = "a near tie, but the build's logits are known to the bit" if flip.near_tie else "not a near tie"
    margin = "none that rounding explains" if math.isinf(flip.margin) else f"{flip.margin:.1e}{unit}"
    return [
        _row("  token", sides + _token(flip.build_token, flip.build_text), 2),
        _row("  margin", f"{margin:<16} band {flip.band:.1e}        {verdict}", 2),
    ]


def _token(token: int, text: bytes) -> str:
    return f"{token} {visible(text)}"


def _difference_lines(difference: Difference) -> Iterator[str]:
    mine, theirs = difference.reference, difference.build
    if isinstance(mine, bytes) and isinstance(theirs, bytes):
        offset = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), None)
        at = min(len(mine), len(theirs)) if offset is None else offset
        yield _row("  result", f"{len(mine)} and {len(theirs)} bytes differ at offset {at}", 2)
        yield _row("    oracle", _around(mine, at), 2)
        yield _row("    build", _around(theirs, at), 2)
        return
    yield _row(f"  {difference.field}", f"oracle {_value(mine)}    build {_value(theirs)}", 2)


def _around(text: bytes, offset: int) -> str:
    start = max(0, offset - SHOWN_TEXT // 2)
    part = text[start : start + SHOWN_TEXT]
    before, after = ("..." if start else ""), ("..." if start + SHOWN_TEXT < len(text) else "")
    return f"{before}{visible(part)}{after}"


def visible(raw: bytes) -> str:
    """Return bytes in quotes as text in which everything shows; what is not UTF-8 as `\\x..`."""
    return f'"{_shown(raw.decode("utf-8", "surrogateescape"))}"'


def _shown(text: str) -> str:
    return "".join(
        character if character.isprintable() and character not in '"\\' else _escape(character) for character in text
    )


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return '\\"' if character == '"' else character.encode("unicode_escape").decode()


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        return visible(value)
    text = value if isinstance(value, str) else json.dumps(value)
    text = "".join(character if character.isprintable() else _escape(character) for character in text)
    return text if len(text) <= 4 * SHOWN_TEXT else text[: 4 * SHOWN_TEXT] + "..."


def _row(label: str, text: str, indent: int = 0) -> str:
    return f"{label:<{LABEL + indent}} {text}"


def table_rows(suite: SuiteResult) -> Iterator[tuple[str, ...]]:
    """Yield the summary by family: cases, steps, fields and tokens compared, verdicts; the last row is the sum."""
    for family in (*suite.families, suite.total):
        yield (
            family.name,
            *(str(n) for n in (family.cases, family.steps, family.fields, family.tokens)),
            _counts(family),
        )


TABLE_HEADINGS: Final = ("family", "cases", "steps", "fields", "tokens", "verdicts")


def _counts(family: Family) -> str:
    return ", ".join(f"{family.verdicts[verdict]} {verdict}" for verdict in Verdict if family.verdicts[verdict])


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
        lines.append(absent_line(suite))
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
        f"{verdict}: {MEANINGS[verdict]}" for verdict in Verdict if seen[verdict] and verdict is not Verdict.MATCH
    ]
    return lines


def absent_line(suite: SuiteResult) -> str:
    """Return what the build does not have, with the status of the refusal and the number of cases (ID-1)."""
    rows = ", ".join(f"{name} ({suite.found.absent[name].name}, {cases} cases)" for name, cases in suite.absent.items())
    return f"absent, because the build refuses a plain file of it: {rows}"


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


# GitHub --------------------------------------------------------------------------------------------------------------


def github_annotations(suite: SuiteResult, about: About) -> list[str]:
    """Return one workflow command for each case that is not fine, and one notice with the sums."""
    lines = []
    for result in suite.cases:
        if result.verdict not in FINE:
            head, *rest = case_lines(result, about)
            title = f"{result.verdict} {result.case.name}"
            lines.append(f"::error title={_property(title)}::{_data(chr(10).join([head, *rest]))}")
    total = suite.total
    summary = (
        f"{total.cases} cases, {total.steps} steps, {total.fields} fields, {total.tokens} tokens: {_counts(total)}"
    )
    if suite.found.absent:
        summary += "; the build does not have " + ", ".join(suite.found.absent)
    return [*lines, f"::notice title=refruntime diff {_property(about.build)}::{_data(summary)}"]


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
