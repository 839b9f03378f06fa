"""Random legal builds are identified exactly, each checked against the truth beside it (ID-1 to ID-3)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.guest.build import option_names
from tests.support.toolchain import needed_toolchain

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".guests"
"""Modules and what came of them are kept here: each is compiled once, and examined once by the same sources."""
COUNT = int(os.environ.get("RANDOM_BUILDS", "20"))
"""Builds without a bug: `RANDOM_BUILDS=200 python -m pytest -m slow tests/guest/test_identify.py` takes an hour."""
BUGGY = 12
RICH = 6
TOKENS = 10_000


def _built(folder: Path, *words: str) -> list[str]:
    """Build modules into a folder and return their names."""
    needed_toolchain()
    command = [sys.executable, "tests/guest/random_builds.py", "--out", str(folder), *words]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [Path(line.split()[0]).name for line in done.stdout.splitlines()]


def _examined(folder: Path, names: list[str], *words: str) -> list[dict[str, Any]]:
    """Examine modules of a folder in two processes."""
    only = [word for name in names for word in ("--only", name)]
    command = [sys.executable, "tests/drivers/identify.py", str(folder), "--jobs", "2", "--json", *words, *only]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    outcomes: list[dict[str, Any]] = json.loads(done.stdout[: done.stdout.rindex("]") + 1])
    assert {outcome["name"] for outcome in outcomes} == set(names), done.stdout + done.stderr
    return outcomes


@pytest.mark.slow
def test_random_builds_are_identified_exactly() -> None:
    """ID-1, ID-2, ID-3: options, fields, texts and formula of random builds; nothing differs under their profiles."""
    names = _built(KEPT / "right", "--random", str(COUNT), "--seed", "2026")
    outcomes = _examined(KEPT / "right", names, "--compare", str(TOKENS))
    assert [outcome["wrong"] for outcome in outcomes] == [[]] * COUNT
    assert all(outcome["tokens"] >= TOKENS for outcome in outcomes)


@pytest.mark.slow
def test_every_option_is_identified_exactly() -> None:
    """ID-1, ID-3: a build for each option of each rule, the clean one, and one with every architecture.

    Nothing of the battery differs then.
    """
    names = _built(KEPT / "options", "--each-option")
    assert len(names) == 2 + len(option_names())
    outcomes = _examined(KEPT / "options", names, "--battery")
    assert [outcome["wrong"] for outcome in outcomes] == [[]] * len(names)


@pytest.mark.slow
def test_random_builds_with_architectures_are_identified_exactly() -> None:
    """ID-3, GG-12, GG-15: what shows in an architecture alone is observed wherever the build has it."""
    names = _built(KEPT / "architectures", "--random", str(RICH), "--seed", "2028", "--architectures")
    outcomes = _examined(KEPT / "architectures", names, "--compare", str(TOKENS))
    assert [outcome["wrong"] for outcome in outcomes] == [[]] * RICH


@pytest.mark.slow
def test_no_option_is_blamed_for_a_bug() -> None:
    """ID-3: with a seeded bug more, what is observed stays true, and the bug is told as one."""
    names = _built(KEPT / "buggy", "--random", str(BUGGY), "--seed", "2027", "--with-bug", "known")
    outcomes = _examined(KEPT / "buggy", names, "--compare", str(TOKENS))
    assert [outcome["wrong"] for outcome in outcomes] == [[]] * BUGGY
    assert [outcome["told"] for outcome in outcomes if outcome["told"] != "named"] == []
