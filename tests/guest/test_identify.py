"""Random legal builds are identified exactly, each checked against the truth beside it (ID-1 to ID-3)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.guest.build import BuildError, find_toolchain

ROOT = Path(__file__).resolve().parents[2]
COUNT = 20


def _built(folder: Path, *words: str) -> None:
    try:
        find_toolchain()
    except BuildError as error:
        pytest.skip(f"no compiler for the guest: {error}")
    command = [sys.executable, "tests/guest/random_builds.py", "--out", str(folder), *words]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def _examined(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/identify_test.py", str(folder), *words]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


@pytest.mark.slow
def test_random_builds_are_identified_exactly(tmp_path: Path) -> None:
    """ID-1, ID-2, ID-3: options, fields, texts and formula of 20 builds, and nothing differs under their profiles."""
    _built(tmp_path, "--random", str(COUNT), "--seed", "2026")
    done = _examined(tmp_path, "--compare")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{COUNT} of {COUNT} builds right" in done.stdout


@pytest.mark.slow
def test_no_option_is_blamed_for_a_bug(tmp_path: Path) -> None:
    """ID-3: with a seeded bug more, what is observed stays true, and the bug is told as one."""
    _built(tmp_path, "--random", "12", "--seed", "2027", "--with-bug", "known")
    done = _examined(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
