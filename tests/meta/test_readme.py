"""README runs as written: every `refruntime` command, the Python block, and the generated table."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", README, re.DOTALL)


def commands() -> list[tuple[str, list[str]]]:
    """Return every command with the output lines that follow it."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(BLOCKS).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


REFRUNTIME = [(command, output) for command, output in commands() if command.startswith("refruntime ")]


def test_the_two_commands_exist() -> None:
    """ABI-5: README promises `make demo` and `make test`, and the Makefile has them."""
    makefile = (PROJECT / "Makefile").read_text()
    promised = [command.split()[1] for command, _ in commands() if command.startswith("make ")]
    assert promised == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in promised)


@pytest.mark.parametrize(("command", "output"), REFRUNTIME, ids=[command for command, _ in REFRUNTIME])
def test_command_prints_what_readme_shows(command: str, output: list[str], tmp_path: Path) -> None:
    """ABI-5: each command exits as said, and prints the lines shown (`...` stands for any lines)."""
    code = int((re.search(r"# exits (\d)", command) or ["", "0"])[1])
    words = shlex.split(command.replace("/tmp/", f"{tmp_path}/"), comments=True)
    result = subprocess.run(
        [sys.executable, "-m", "refruntime", *words[1:]],
        cwd=PROJECT,
        env=os.environ | {"COLUMNS": "110", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == code, result.stderr
    shown = [line.replace("/tmp/", f"{tmp_path}/") for line in output]
    pattern = "".join(r"(?:.*\n)*" if line == "..." else re.escape(line.rstrip()) + r" *\n" for line in shown)
    printed = "".join(line.rstrip() + "\n" for line in (result.stdout + result.stderr).splitlines())
    assert not shown or re.fullmatch(pattern, printed), printed


def test_python_block_runs() -> None:
    """ABI-1, ST-1: the Python example of README runs as written."""
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    result = subprocess.run([sys.executable, "-c", block], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def test_table_of_exports_is_current() -> None:
    """ABI-1, ABI-2: the table is what `tools/make_readme_table.py` writes."""
    assert subprocess.run([sys.executable, "tools/make_readme_table.py", "--check"], cwd=PROJECT).returncode == 0
