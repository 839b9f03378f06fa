"""The tutorial on a strange build: its commands are run as they stand there (ID-1 to ID-3)."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guest.build import BuildError, find_toolchain

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "a-strange-build.md").read_text("utf-8")
COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command.replace("/tmp/", f"{folder}/"))
    program = [sys.executable, *words[1:]] if words[0] == "python" else [sys.executable, "-m", *words]
    return subprocess.run(program, cwd=ROOT, check=False, capture_output=True, text=True)


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    """GEN-7, ID-3: five options, a foreign checksum and one bug: all options are observed, the bug is told as one."""
    try:
        find_toolchain()
    except BuildError as error:
        pytest.skip(f"no compiler for the guest: {error}")
    build, identify, diff = COMMANDS
    built = _run(build, tmp_path)
    assert built.returncode == 0, built.stderr
    (module,) = (tmp_path / "strange").glob("*.wasm")
    module.rename(tmp_path / "strange" / "guest.wasm")
    card = _run(identify, tmp_path)
    assert card.returncode == 1, card.stdout + card.stderr
    for line in ("PR-1 .*7,9,8", "SA-2 .*higher id first", "NT-2 .*11", "ST-5 .*unchanged", "ERR-4 .*empty"):
        assert re.search(line, card.stdout), line
    assert "this build breaks GEN-7" in card.stdout
    compared = _run(diff, tmp_path)
    assert compared.returncode == 1
    assert "GEN-7" in compared.stdout
