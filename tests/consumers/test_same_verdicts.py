"""The goldens on the independent build and its mutants: Node and Python come to the same verdicts, case by case."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from refruntime.differential.verdict import FINE
from refruntime.golden.corpus import Corpus
from refruntime.golden.report import golden_document
from refruntime.golden.suite import golden_suite
from tests.consumers.node import run_node
from tests.support.builds import GUEST, MUTANTS, wasm_build
from tests.support.command_line import command

BUILDS: Mapping[str, Path] = {"guest": GUEST, **MUTANTS}


def python_report(build: Path, goldens: Path, families: Sequence[str] = ()) -> dict[str, Any]:
    """Return the report of the Python goldens, of all or of some families."""
    suite = golden_suite(Corpus(goldens), wasm_build(build))
    run = suite.run(suite.cases(suite.ids(families)))
    return golden_document(run, suite.index, build.name, hashlib.sha256(build.read_bytes()).hexdigest())


def comparable(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two consumers must agree on: not the words of reasons, not times, not a found value's spelling."""
    first = entry["first_difference"]
    difference = None if first is None else (first["step"], [item["field"] for item in first["fields"]])
    return {key: entry[key] for key in ("id", "verdict", "steps", "fields", "sample")} | {"first": difference}


def test_mutants_are_there() -> None:
    """ABI-1: at least twelve seeded bugs stand for what a build may do wrong."""
    assert len(MUTANTS) >= 12
    assert BUILDS.keys() >= set(QUICK)


QUICK = {"guest": ("abi", "errors", "generate", "memory"), "draw_from_32_bits": ("sampling", "memory")}
"""Builds of the fast test, with the families that run on them. `make test-slow` runs all, on every build."""


@pytest.mark.parametrize(
    ("name", "families"),
    [
        *(pytest.param(name, families, id=name) for name, families in QUICK.items()),
        *(pytest.param(name, (), id=f"{name}-all", marks=pytest.mark.slow) for name in BUILDS),
    ],
)
def test_same_verdicts(name: str, families: Sequence[str], goldens: Path) -> None:
    """ABI-1, ABI-5: on the clean build every case is fine in both consumers, on a mutant the same cases fail alike."""
    filters = [word for family in families for word in ("--filter", family)]
    done = run_node(BUILDS[name], "--golden", goldens, "--json", *filters)
    node, python = done.report, python_report(BUILDS[name], goldens, families)
    assert list(map(comparable, node["cases"])) == list(map(comparable, python["cases"]))
    for key in ("version", "golden", "build", "problems", "exit_code", "summary", "lost"):
        assert node[key] == python[key], key
    assert {family["name"]: family for family in node["families"]} == {
        family["name"]: family for family in python["families"]
    }
    failing = [entry["id"] for entry in node["cases"] if entry["verdict"] not in FINE]
    assert (failing == []) == (name == "guest")
    assert done.code == (0 if name == "guest" else 1)


def test_a_refusal_that_was_expected_is_called_alike(tmp_path: Path) -> None:
    """ERR-1: every report for people says "refused alike", in text also the name in JSON; JSON says that name alone."""
    files = {name: tmp_path / f"report.{name}" for name in ("html", "markdown")}
    written = [word for name, path in files.items() for word in (f"--{name}", path)]
    case = ["--filter", "errors/12-model-not-loaded"]
    words = ["diff", GUEST, "--golden", *case]
    shown = command(*words, "-v", *written)
    assert shown.code == 0, shown.stderr
    for text in (shown.stdout, run_node(GUEST, *case).out, *(path.read_text("utf-8") for path in files.values())):
        assert "refused alike" in text
        assert "BOTH_FAILED" not in text.replace("JSON calls it BOTH_FAILED", "")
    assert command(*words, "--json").json["summary"]["verdicts"] == {"BOTH_FAILED": 1}
    assert run_node(GUEST, *case, "--json").report["summary"]["verdicts"] == {"BOTH_FAILED": 1}
