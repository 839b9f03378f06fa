"""The report as Markdown, for job summaries and comments on changes. What a build says stays text in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from refruntime.differential.case_result import CaseResult, Family, SuiteResult
from refruntime.differential.report.about import About
from refruntime.differential.report.case import case_lines
from refruntime.differential.report.text import counts
from refruntime.differential.verdict import EXIT_FINE, FINE, Verdict
from refruntime.visible import printable

SHOWN_CASES: Final = 20
"""Cases that are told in full; systems cut long summaries in the middle."""


def markdown_report(suite: SuiteResult, about: About) -> str:
    """Return verdict, sums by family, the first difference in full, the others folded, what was not compared."""
    fine = suite.exit_code == EXIT_FINE
    notable = [result for result in suite.cases if result.verdict not in FINE]
    total = suite.total
    lines = [
        f"## {'✅' if fine else '❌'} {_inline(about.build)}: {'fine' if fine else 'not fine'}",
        "",
        f"{total.cases} cases, {total.steps} steps, {total.fields} fields and {total.tokens} tokens compared: "
        f"{_inline(counts(total) or 'nothing')}.",
        "",
        *_families(suite),
    ]
    if notable:
        lines += ["", f"### First difference: {_inline(notable[0].case.name)}", "", *_case(notable[0], about)]
    for result in notable[1:SHOWN_CASES]:
        title = escape(printable(f"{result.verdict} {result.case.name}"))
        lines += ["", f"<details><summary>{title}</summary>", "", *_case(result, about), "", "</details>"]
    if len(notable) > SHOWN_CASES:
        lines += ["", f"{len(notable) - SHOWN_CASES} more cases are not fine."]
    missing = sum(result.verdict is Verdict.UNSUPPORTED for result in suite.cases)
    if suite.found.absent:
        absent = ", ".join(_inline(name) for name in suite.found.absent)
        lines += ["", f"Not compared: {missing} cases need what the build does not have: {absent}."]
    if suite.lost:
        lost = ", ".join(f"{_inline(name)} of {count} steps" for name, count in suite.lost.items())
        lines += ["", f"Not compared, because the build does not show it: {lost}."]
    profile = f"profile {about.profile.fingerprint} ({about.profile_source})"
    lines += ["", f"{_inline(about.build)}, sha256 {_inline(about.sha256)}, {_inline(profile)}. Again:", ""]
    return "\n".join([*lines, *_fenced([about.as_run], "sh"), ""])


def _families(suite: SuiteResult) -> Iterable[str]:
    seen = [verdict for verdict in Verdict if suite.total.verdicts[verdict]]
    yield _row(["family", "cases", "steps", *(verdict.label for verdict in seen)])
    yield _row(["---", *["--:"] * (2 + len(seen))])
    for family in (*suite.families, suite.total):
        yield _row([_inline(family.name), str(family.cases), str(family.steps), *_numbers(family, seen)])


def _numbers(family: Family, seen: Sequence[Verdict]) -> list[str]:
    return [str(family.verdicts[verdict] or "") for verdict in seen]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _case(result: CaseResult, about: About) -> list[str]:
    return _fenced(case_lines(result, about), "text")


def _fenced(lines: Sequence[str], kind: str) -> list[str]:
    """Return lines in a fence that none of them can close."""
    text = printable("\n".join(lines))
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{kind}", *text.split("\n"), fence]


def _inline(text: str) -> str:
    """Return text in which nothing is markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&])", r"\\\1", " ".join(printable(text).split()))
