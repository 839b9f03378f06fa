"""Say what golden cases found on a build: the JSON document of golden/FORMAT.md, section 7, and lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from refruntime.cases.observation import Observation, kind_of
from refruntime.cases.steps import Generate, Step, describe
from refruntime.differential.case_result import CaseResult, Family, SuiteResult
from refruntime.differential.compare import Difference
from refruntime.differential.report.json_document import absent
from refruntime.differential.report.values import visible
from refruntime.engines.base import InterfaceProblem
from refruntime.golden.compare import golden_outcome
from refruntime.golden.dialect import dialect_texts
from refruntime.golden.expect import diagnostics_value

REPORT_VERSION: Final = 1
SHOWN_BYTES: Final = 60


def golden_document(
    suite: SuiteResult, index: Mapping[str, Any], build: str, sha256: str, problems: Sequence[InterfaceProblem] = ()
) -> dict[str, Any]:
    """Return the machine-readable report of a run on the goldens of an index."""
    return {
        "version": REPORT_VERSION,
        "build": {"name": build, "sha256": sha256, "offered": sorted(suite.offered), "absent": absent(suite)},
        "golden": {
            "format": index["format"],
            "contract": index["contract"],
            "profile": index["profile"]["fingerprint"],
            "root": index["root"],
            "fields": dialect_texts(index["diagnostics"]),
        },
        "exit_code": 1 if problems else suite.exit_code,
        "problems": [{"name": item.name, "expected": item.expected, "found": item.found} for item in problems],
        "summary": _sums(suite.total),
        "families": [{"name": family.name, **_sums(family)} for family in suite.families],
        "lost": suite.lost,
        "cases": [_case(result) for result in suite.cases],
    }


def _sums(family: Family) -> dict[str, Any]:
    verdicts = {str(verdict): count for verdict, count in family.verdicts.items()}
    return {"cases": family.cases, "steps": family.steps, "fields": family.fields, "verdicts": verdicts}


def _case(result: CaseResult) -> dict[str, Any]:
    comparison = result.comparison
    first = None
    if comparison.first is not None and result.run is not None:
        index = comparison.first.index
        mine = result.run.reference[index]
        theirs = result.run.build[index] if index < len(result.run.build) else None
        first = {
            "step": index,
            "call": _call(result.case.steps[index]),
            "fields": [_difference(item, mine, theirs) for item in comparison.differences],
        }
    return {
        "id": result.case.name,
        "verdict": str(result.verdict),
        "reason": result.reason or result.crash,
        "steps": comparison.steps,
        "fields": sum(comparison.compared.values()),
        "first_difference": first,
        "sample": None if result.explanation is None else result.explanation.document(),
        "seconds": round(result.seconds, 3),
    }


def _call(step: Step) -> str:
    """Describe a step in one line that is the same in every consumer."""
    if not isinstance(step, Generate):
        return describe(step)
    prompt = visible(step.prompt[:SHOWN_BYTES]) + ("..." if len(step.prompt) > SHOWN_BYTES else "")
    return f"generate({prompt}, {step.max_new_tokens})"


def _difference(difference: Difference, mine: Observation, theirs: Observation | None) -> dict[str, Any]:
    """Return a differing field: what is expected as in `expect.json`, what was found as the build wrote it."""
    name, expected, found = difference.field, difference.reference, difference.build
    if name == "status":
        shown = f"error: {found}" if theirs is None else golden_outcome(theirs)
        return {"field": kind_of(mine), "expected": golden_outcome(mine), "found": shown}
    if name == "result":
        return {"field": name, "expected": expected.hex(), "found": None if found is None else found.hex()}
    return {"field": name, "expected": diagnostics_value(name, expected), "found": found}
