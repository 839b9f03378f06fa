"""The sessions that evidence names, as golden cases: anybody can repeat them on the build or on the oracle (ID-3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from refruntime.battery.features import FEATURES
from refruntime.cases.steps import INIT, Case, Load
from refruntime.contract.profile import Profile
from refruntime.golden.case import step_document
from refruntime.golden.values import FORMAT_VERSION, bytes_hash, disk_json

ABOUT: Final = "What was learnt about a build follows from its answers to these calls."
SUFFIXES: Final = {b"SLM1": ".slm1", b"GGUF": ".gguf"}


def feature_case(name: str) -> Case:
    """Return the session that asks for a feature: its plain file on a fresh instance (ID-1)."""
    return Case(feature_case_name(name), (INIT, Load("plain")), {"plain": FEATURES[name].make(Profile())}, ("ID-1",))


def feature_case_name(name: str) -> str:
    """Return the name of the session that asks for a feature."""
    return "features/" + re.sub(r"[^a-z0-9.-]+", "-", name)


def replay_documents(cases: Iterable[Case]) -> dict[str, dict[str, Any]]:
    """Return name -> the session as JSON: steps as in a golden case, models by size and SHA-256."""
    return {
        case.name: {
            "steps": [step_document(step) for step in case.steps],
            "models": {name: {"bytes": len(data), "sha256": bytes_hash(data)} for name, data in case.models.items()},
        }
        for case in cases
    }


def replay_files(cases: Iterable[Case]) -> dict[str, bytes]:
    """Return path -> content of a folder of cases, for `repl --golden DIR --case NAME --wasm BUILD`."""
    files: dict[str, bytes] = {}
    for case in cases:
        loaded = {step.model for step in case.steps if isinstance(step, Load)}
        models = {}
        for name, data in case.models.items():
            if name in loaded:
                models[name] = {"file": f"models/{bytes_hash(data)[:16]}{SUFFIXES.get(data[:4], '.bin')}"}
                files[models[name]["file"]] = data
        document = {
            "about": ABOUT,
            "format": FORMAT_VERSION,
            "models": models,
            "rules": sorted(set(case.rules)),
            "steps": [step_document(step) for step in case.steps],
        }
        files[f"cases/{case.name}/case.json"] = disk_json(document)
    return files
