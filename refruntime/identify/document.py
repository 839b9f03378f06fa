"""Say what was found out about a build as one JSON document for machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from refruntime.battery.features import FEATURES
from refruntime.contract.profile import CONTRACT_VERSION
from refruntime.identify.fields import LearntField
from refruntime.identify.identification import Bug, Evidence, Identification, Learnt
from refruntime.identify.replay import feature_case_name, replay_documents

JSON_VERSION: Final = 1


def json_document(found: Identification) -> dict[str, Any]:
    """Return everything as one JSON-ready document; `version` changes when a field changes its meaning or goes."""
    return {
        "version": JSON_VERSION,
        "build": {"name": found.build, "sha256": found.sha256, "bytes": found.size},
        "contract": {"version": CONTRACT_VERSION, "fingerprint": found.profile.fingerprint},
        "problem": found.problem or None,
        "tried": list(found.tried),
        "exit_code": found.exit_code,
        "checksum": _checksum(found),
        "features": _features(found),
        "fields": {name: _field(item) for name, item in found.fields.items()},
        "messages": _messages(found),
        "switches": {item.key: _learnt(item) for item in found.learnt},
        "bugs": [_bug(bug) for bug in found.bugs],
        "profile": found.profile.to_toml(),
        "cases": replay_documents(found.cases.values()),
        "experiments": found.experiments,
        "calls": found.calls,
        "seconds": round(found.seconds, 3),
    }


def _checksum(found: Identification) -> dict[str, Any]:
    if found.checksum is None:
        return {"status": "unknown"}
    checksum = found.checksum
    return {
        "kind": checksum.kind,
        "status": checksum.status,
        "text": checksum.text,
        "evidence": list(checksum.evidence),
        "wrongly_loaded": list(checksum.wrongly),
        "cases": [case.name for case in checksum.cases],
        **checksum.facts,
    }


def _features(found: Identification) -> dict[str, Any]:
    if found.features is None:
        return {}
    features = found.features
    result: dict[str, Any] = {}
    for name in FEATURES:
        if name in features.absent:
            status = features.absent[name].name
            evidence = [{"case": feature_case_name(name), "step": 1, "found": status}]
            result[name] = {"present": False, "status": "observed", "refused_with": status, "evidence": evidence}
        elif name in features.asked:
            evidence = [{"case": feature_case_name(name), "step": 1}]
            result[name] = {"present": True, "status": "observed", "evidence": evidence}
        else:
            result[name] = {"present": False, "status": "observed", "reason": "what it stands on is absent"}
    return result


def _field(item: LearntField) -> dict[str, Any]:
    return {
        "present": item.status != "absent",
        "place": item.place,
        "form": item.form,
        "status": item.status,
        "agreed": item.agreed,
        "documents": item.shown,
        "reason": item.reason,
        "others": list(item.others),
        "evidence": [{"case": case, "step": step} for case, step in item.evidence],
    }


def _messages(found: Identification) -> dict[str, Any]:
    return {
        status.name: {
            "code": int(status),
            "text": text.text,
            "status": "observed",
            "seen": text.seen,
            "others": dict(text.others),
            "evidence": [{"case": case, "step": step} for case, step in text.evidence],
        }
        for status, text in found.texts.items()
    }


def _learnt(item: Learnt) -> dict[str, Any]:
    return {
        "value": item.value if isinstance(item.value, int) else str(item.value),
        "status": item.status,
        "meaning": item.meaning,
        "reason": item.reason,
        "evidence": [_evidence(each) for each in item.evidence],
    }


def _bug(bug: Bug) -> dict[str, Any]:
    return {
        "rule": bug.rule,
        "text": bug.text,
        "broken": bug.broken,
        "of": bug.of,
        "line": bug.line,
        "cases": list(bug.cases),
        "evidence": [_evidence(each) for each in bug.evidence],
    }


def _evidence(item: Evidence) -> Mapping[str, Any]:
    return {
        "case": item.case,
        "step": item.step,
        "call": item.call,
        "field": item.field,
        "instead": item.instead,
        "expected": item.expected,
        "found": item.found,
    }
