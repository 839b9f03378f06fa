"""Bugs outside every list are told under their rule, and no other rule is blamed (ID-3)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from refruntime.identify.ask import Memory
from tests.drivers.identify import examine
from tests.guest.build import GUEST
from tests.guest.exam.build_exam import EXAM, build_one, load_exam
from tests.support.toolchain import needed_toolchain

NAMES = sorted(load_exam())


def test_every_bug_of_the_exam_has_a_patch_that_applies(tmp_path: Path) -> None:
    """A change of the guest that moves what a patch changes is told here, without a compiler."""
    assert {path.stem for path in EXAM.glob("*.patch")} == set(NAMES)
    shutil.copytree(GUEST / "src", tmp_path / "tests" / "guest" / "src")
    for name in NAMES:
        check = ["git", "apply", "--check", str(EXAM / f"{name}.patch")]
        done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_bug_of_the_exam_is_told_under_its_rule(name: str, tmp_path: Path) -> None:
    """One rule is blamed, the one that the author of the bug named or one that is right, too; no option is wrong."""
    needed_toolchain()
    each = load_exam()[name]
    outcome = examine(build_one(name, tmp_path), Memory())
    assert not outcome.wrong
    rules = [line.split()[3] for line in outcome.bugs]
    assert len(rules) == 1, outcome.bugs
    assert rules[0] in (each["rule"], *each["also"])
