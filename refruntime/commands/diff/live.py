"""Say what a comparison finds while it runs: a divergence at once, its causes below it as soon as they are known."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from refruntime.commands.shared import Bar
from refruntime.differential.case_result import CaseResult, SuiteResult
from refruntime.differential.report.about import About, header_lines, row
from refruntime.differential.report.case import cause_lines, found_lines
from refruntime.differential.report.text import SHOWN_CASES, summary_lines
from refruntime.differential.verdict import FINE, Verdict
from refruntime.show.folding import fitting
from refruntime.visible import printable

QUIET: Final = -1
VERBOSE: Final = 1

_UNCERTAIN: Final = {Verdict.CONTRACT_GAP, Verdict.POISONED, Verdict.UNSUPPORTED}
_COLOURS: Final = {
    verdict.label: "yellow" if verdict in _UNCERTAIN else "green" if verdict in FINE else "red" for verdict in Verdict
}


class Live:
    """The report for people as it grows; nothing is written with `silent`.

    Quiet, it names what is not fine in a line each; verbose, it names every case and shows all values of a divergence.
    """

    def __init__(self, about: About, verbosity: int = 0, *, silent: bool = False) -> None:
        self.about, self.verbosity, self.silent = about, verbosity, silent
        self.tracebacks: dict[str, str] = {}
        self._bar: Bar | None = None
        self._shown = 0
        self._begun: CaseResult | None = None
        self._folder: Path | None = None

    def header(self) -> None:
        """Write the conditions of the comparison."""
        if self.verbosity != QUIET:
            self._write(header_lines(self.about))

    def over(self, bar: Bar) -> None:
        """Write over this progress bar from now on."""
        self._bar = bar

    def before_explaining(self, result: CaseResult) -> None:
        """Write a divergence whose causes are searched next."""
        if self._in_full():
            self._begin(result)
        if self._bar is not None:
            self._bar.describe(f"searching for causes of {result.case.name}")

    def after_case(self, result: CaseResult) -> None:
        """Write what is known of a case when nothing more will be."""
        if result.crash:
            self._save_traceback(result)
        if self._bar is not None:
            self._bar.describe("comparing")
            self._bar(1)
        if result.verdict in FINE:
            if self.verbosity == VERBOSE:
                self._write([_one_line(result)])
        elif self._begun is None and not self._in_full():
            self._write([_one_line(result)])
        else:
            if self._begun is None:
                self._begin(result)
            self._end(result)

    def end(self, suite: SuiteResult) -> None:
        """Write the summary, behind what an interrupt left open."""
        if self._begun is not None:
            self._end(self._begun)
        lines = summary_lines(suite)
        self._write(lines if self.verbosity != QUIET else [_totals(suite)], gap=self.verbosity != QUIET)

    def _in_full(self) -> bool:
        return self.verbosity == VERBOSE or (self.verbosity != QUIET and self._shown < SHOWN_CASES)

    def _begin(self, result: CaseResult) -> None:
        self._begun = result
        self._shown += 1
        self._write(found_lines(result, self.about, everything=self.verbosity == VERBOSE), gap=True)

    def _end(self, result: CaseResult) -> None:
        traceback = self.tracebacks.get(result.case.name, "")
        begun, self._begun = self._begun, None
        if begun is not None and begun.verdict is not result.verdict is Verdict.CONTRACT_GAP:
            text = f"{result.verdict}({result.reason}): a declared option that the build may choose"
            self._write([row("  option", text, 2)])
        self._write(cause_lines(result, self.about, traceback, everything=self.verbosity == VERBOSE))

    def _save_traceback(self, result: CaseResult) -> None:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="refruntime-crash-"))
        path = self._folder / f"{result.case.name.replace('/', '-')}.txt"
        path.write_text(result.crash, encoding="utf-8")
        self.tracebacks[result.case.name] = str(path)

    def _write(self, lines: Sequence[str], *, gap: bool = False) -> None:
        if self.silent:
            return
        shown = fitting(printable(line) for line in lines)  # before colour is added, which is a command to the terminal
        text = "\n".join(map(coloured, shown) if in_colour() else shown)
        if self._bar is None:
            click.echo(f"\n{text}" if gap else text, color=in_colour())
        else:
            with self._bar.paused():
                click.echo(f"\n{text}" if gap else text, color=in_colour())
                sys.stdout.flush()


def _one_line(result: CaseResult) -> str:
    comparison = result.comparison
    reason = f"  {result.reason}" if result.reason else ""
    agree = f"{comparison.matched} of {len(result.case.steps)} steps agree"
    return f"{result.verdict.label} {result.case.name}  {agree}{reason}"


def _totals(suite: SuiteResult) -> str:
    total = suite.total
    verdicts = ", ".join(f"{total.verdicts[verdict]} {verdict.label}" for verdict in Verdict if total.verdicts[verdict])
    interrupted = f"; interrupted, {suite.skipped} cases did not run" if suite.interrupted else ""
    return f"{total.cases} cases, {total.steps} steps: {verdicts or 'nothing was compared'}{interrupted}"


# Colour --------------------------------------------------------------------------------------------------------------


def in_colour() -> bool:
    """Say whether standard output takes colour: a terminal, unless NO_COLOR is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def coloured(line: str) -> str:
    """Return a line of a report with its verdict or its label in colour."""
    for word, colour in _COLOURS.items():
        if re.match(rf"{word}\b", line):
            return click.style(word, fg=colour, bold=True) + line[len(word) :]
    label = line[2:].partition(" ")[0]
    if line.startswith("  ") and label:
        return "  " + click.style(label, dim=label not in _MARKED, bold=label in _MARKED) + line[2 + len(label) :]
    return line


_MARKED: Final = frozenset({"first", "cause", "option", "nearest", "crash"})
"""Labels of what a person looks for first."""
