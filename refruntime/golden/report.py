"""Say what golden cases found on a build: the JSON document of golden/FORMAT.md, section 7, and lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from refruntime.cases.observe import Observation
from refruntime.cases.steps import Generate, Step, describe
from refruntime.differential.compare import Difference
from refruntime.differential.report.json_document import absent
from refruntime.differential.report.values import visible
from refruntime.differential.suite import CaseResult, Family, SuiteResult
from refruntime.engines.base import InterfaceProblem
from refruntime.golden.dialect import dialect_texts
from refruntime.golden.expect import diagnostics_value
from refruntime.golden.suite import GoldenResult, GoldenRun, golden_outcome

REPORT_VERSION: Final = 1
SHOWN_BYTES: Final = 60


@dataclass(frozen=True)
class SampleLines:
    """The sampler trace of the first token that differs, as lines of a report."""

    sample: Mapping[str, Any]

    @property
    def gap(self) -> None:
        """Return None: a trace proposes no option of the contract."""

    @property
    def rules(self) -> Sequence[str]:
        """Return no rule: a trace says where, not why."""
        return ()

    @property
    def lines(self) -> Sequence[tuple[str, str]]:
        """Return (label, text) pairs."""
        sample = self.sample
        best = ", ".join(f"{token}: {logit}" for token, logit in sample["top"])
        lines = [("sample", f"token {sample['token']} of step {sample['step']}; greatest logits {best}")]
        if "greedy" in sample:
            return [*lines, ("greedy", str(sample["greedy"]))]
        return [
            *lines,
            ("weights", f"{sample['retained']} retained, total {sample['total']}, threshold {sample['threshold']}"),
            ("kept", f"{sample['kept']} of mass {sample['mass']}; the winner has index {sample['index']}"),
            ("state", f"{sample['state_before']} -> {sample['state_after']}, output {sample['output']}"),
            ("coin", f"unit {sample['unit']}, point {sample['point']}"),
        ]

    def document(self) -> dict[str, Any]:
        """Return the entry of the trace."""
        return dict(self.sample)


def suite_with_samples(run: GoldenRun) -> SuiteResult:
    """Return the results in the form of the reports for people, the sampler trace with every differing token."""
    results = map(with_sample, run.results)
    return SuiteResult(tuple(results), run.offered, run.skipped, run.found)


def with_sample(golden: GoldenResult) -> CaseResult:
    """Return a result, with the sampler trace of the first token that differs as its explanation."""
    if golden.sample is None:
        return golden.result
    return replace(golden.result, explanation=SampleLines(golden.sample))


def golden_document(
    run: GoldenRun, build: str, sha256: str, problems: Sequence[InterfaceProblem] = ()
) -> dict[str, Any]:
    """Return the machine-readable report of a run."""
    suite = suite_with_samples(run)
    index = run.index
    return {
        "version": REPORT_VERSION,
        "build": {"name": build, "sha256": sha256, "offered": sorted(run.offered), "absent": absent(suite)},
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
        "cases": [_case(golden) for golden in run.results],
    }


def _sums(family: Family) -> dict[str, Any]:
    verdicts = {str(verdict): count for verdict, count in family.verdicts.items()}
    return {"cases": family.cases, "steps": family.steps, "fields": family.fields, "verdicts": verdicts}


def _case(golden: GoldenResult) -> dict[str, Any]:
    result, comparison = golden.result, golden.result.comparison
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
        "id": golden.id,
        "verdict": str(golden.verdict),
        "reason": result.reason or result.crash,
        "steps": comparison.steps,
        "fields": sum(comparison.compared.values()),
        "first_difference": first,
        "sample": None if golden.sample is None else dict(golden.sample),
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
        return {"field": mine.kind, "expected": golden_outcome(mine), "found": shown}
    if name == "result":
        return {"field": name, "expected": expected.hex(), "found": None if found is None else found.hex()}
    return {"field": name, "expected": diagnostics_value(name, expected), "found": found}
