"""The tutorial on a strange build: its commands are run as they stand there (ID-1 to ID-3)."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.toolchain import needed_toolchain

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "a-strange-build.md").read_text("utf-8")
COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of the page in a shell, in a folder of its own instead of /tmp."""
    python = shlex.quote(sys.executable)
    line = re.sub(r"^refruntime ", "-m refruntime ", command.removeprefix("python "))
    line = line.replace("/tmp/", f"{shlex.quote(str(folder))}/")
    return subprocess.run(f"{python} {line}", shell=True, cwd=ROOT, check=False, capture_output=True, text=True)


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    """GEN-7, ID-3: five options, a foreign checksum and one bug: all options are observed, the bug is told as one."""
    needed_toolchain()
    build, identify, diff = COMMANDS
    built = _run(build, tmp_path)
    assert built.returncode == 0, built.stderr
    card = _run(identify, tmp_path)
    assert card.returncode == 1, card.stdout + card.stderr
    (shown,) = re.findall(r"^```\noptions observed\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for line in shown.splitlines() if line.strip() != "..."]
    assert len(lines) == 9
    assert [line for line in lines if line not in card.stdout.splitlines()] == []
    compared = _run(diff, tmp_path)
    assert compared.returncode == 1
    assert "GEN-7" in compared.stdout
