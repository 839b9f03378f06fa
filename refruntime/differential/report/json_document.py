"""Say what a comparison found as one JSON document for machines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from refruntime.cases.steps import describe
from refruntime.contract.profile import CONTRACT_VERSION
from refruntime.differential.case_result import CaseResult, Family, SuiteResult
from refruntime.differential.margins import Flip
from refruntime.differential.report.about import About

JSON_VERSION: Final = 1


def json_document(suite: SuiteResult, about: About) -> dict[str, Any]:
    """Return everything as one JSON-ready document; `version` changes when a field changes its meaning or goes."""
    return {
        "version": JSON_VERSION,
        "build": {
            "name": about.build,
            "sha256": about.sha256,
            "diagnostics": sorted(suite.offered),
            "absent": absent(suite),
        },
        "contract": {
            "version": CONTRACT_VERSION,
            "source": about.profile_source,
            "fingerprint": about.profile.fingerprint,
            "differences": {key: _json_value(value) for key, value in about.profile.differences().items()},
            "notes": list(about.notes),
        },
        "conditions": dict(about.facts),
        "exit_code": suite.exit_code,
        "summary": _family_document(suite.total),
        "families": [_family_document(family) for family in suite.families],
        "lost": suite.lost,
        "skipped": suite.skipped,
        "cases": [_case_document(result, about) for result in suite.cases],
    }


def absent(suite: SuiteResult) -> dict[str, str]:
    """Return the status with which the build refused the plain file of each feature that it does not have (ID-1)."""
    return {name: status.name for name, status in suite.found.absent.items()}


def _family_document(family: Family) -> dict[str, Any]:
    return {**vars(family), "verdicts": {str(verdict): count for verdict, count in family.verdicts.items()}}


def _case_document(result: CaseResult, about: About) -> dict[str, Any]:
    comparison, first = result.comparison, result.comparison.first
    step = None
    if first is not None and first.index < len(result.case.steps):
        step = describe(result.case.steps[first.index])
    return {
        "name": result.case.name,
        "rules": list(result.case.rules),
        "verdict": str(result.verdict),
        "reason": result.reason,
        "steps": comparison.steps,
        "matched_steps": comparison.matched,
        "tokens": comparison.tokens,
        "compared": dict(sorted(comparison.compared.items())),
        "lost": dict(sorted(comparison.lost.items())),
        "first_difference": None if first is None else {"step": first.index, "call": step},
        "differences": [
            {"field": item.field, "reference": _json_value(item.reference), "build": _json_value(item.build)}
            for item in comparison.differences
        ],
        "flip": None if result.flip is None else _flip_document(result.flip),
        "near_ties": [_flip_document(flip) for flip in result.ties],
        "explanation": None if result.explanation is None else result.explanation.document(),
        "crash": result.crash,
        "repro": f"{about.command} --filter {result.case.name}",
        "seconds": round(result.seconds, 6),
    }


def _flip_document(flip: Flip) -> dict[str, Any]:
    return {
        "step": flip.index,
        "reference": {"token": flip.reference_token, "bytes": flip.reference_text.hex()},
        "build": {"token": flip.build_token, "bytes": flip.build_text.hex()},
        "margin": None if math.isinf(flip.margin) else flip.margin,
        "band": flip.band,
        "unit": "probability mass" if flip.drawn else "logit",
        "near_tie": flip.near_tie,
    }


def _json_value(value: Any) -> Any:
    """Return a value as JSON holds it: bytes as hex text, non-finite numbers as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _json_value(item) for key, item in value.items()}
    return [_json_value(item) for item in value] if isinstance(value, list | tuple) else value
