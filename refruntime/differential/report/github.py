"""Say what a comparison found as workflow commands of GitHub Actions."""

from __future__ import annotations

from refruntime.differential.case_result import SuiteResult
from refruntime.differential.report.about import About
from refruntime.differential.report.case import case_lines
from refruntime.differential.report.text import counts
from refruntime.differential.verdict import FINE


def github_annotations(suite: SuiteResult, about: About) -> list[str]:
    """Return one workflow command for each case that is not fine, and one notice with the sums."""
    lines = []
    for result in suite.cases:
        if result.verdict not in FINE:
            head, *rest = case_lines(result, about)
            title = f"{result.verdict} {result.case.name}"
            lines.append(f"::error title={_property(title)}::{_data(chr(10).join([head, *rest]))}")
    total = suite.total
    summary = f"{total.cases} cases, {total.steps} steps, {total.fields} fields, {total.tokens} tokens: {counts(total)}"
    if suite.found.absent:
        summary += "; the build does not have " + ", ".join(suite.found.absent)
    return [*lines, f"::notice title=refruntime diff {_property(about.build)}::{_data(summary)}"]


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
