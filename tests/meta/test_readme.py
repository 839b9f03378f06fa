"""README runs as written: every command, the Python blocks, and the generated table."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit import command_line

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


RUN = [(command, output) for command, output in commands() if not command.startswith("make ")]


def program(words: list[str]) -> list[str]:
    """Return the words that run a command of README here; skip one whose program this machine does not have."""
    if words[0] == "pytest":
        return [sys.executable, "-m", *words]
    found = shutil.which(words[0])
    if found is None:
        pytest.skip(f"{words[0]} is not installed")
    return [found, *words[1:]]


def test_the_two_commands_exist() -> None:
    """ABI-5: README promises `make demo` and `make test`, and the Makefile has them."""
    makefile = (PROJECT / "Makefile").read_text()
    promised = [command.split()[1] for command, _ in commands() if command.startswith("make ")]
    assert promised == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in promised)


LONG = "refruntime identify"
"""How a command begins that takes half a minute: `make test` leaves it out."""


@pytest.mark.parametrize(
    ("command", "output"),
    [pytest.param(*item, id=item[0], marks=[pytest.mark.slow] if item[0].startswith(LONG) else []) for item in RUN],
)
def test_command_prints_what_readme_shows(
    command: str, output: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ABI-5: each command exits as said, and prints the lines shown; `...` stands for any lines, or text in a line."""
    code = int((re.search(r"# exits (\d)", command) or ["", "0"])[1])
    line, _, source = command.partition(" < ")
    words = shlex.split(line.replace("/tmp/", f"{tmp_path}/"), comments=True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(PROJECT)
    given = (PROJECT / source).read_text() if source else ""
    ended, text = _here(words[1:], given) if words[0] == "refruntime" else _elsewhere(words, given)
    assert ended == code, text
    shown = [line.replace("/tmp/", f"{tmp_path}/") for line in output]
    pattern = "".join(
        r"(?:.*\n)*" if line == "..." else re.escape(line.rstrip()).replace(r"\.\.\.", ".*") + r" *\n" for line in shown
    )
    printed = "".join(line.rstrip() + "\n" for line in text.splitlines())
    assert not shown or re.fullmatch(pattern, printed), printed


def _here(words: list[str], given: str) -> tuple[int, str]:
    """Run a command of the package in this process, in a terminal of 110 columns: exit code and output."""
    outcome = command_line.command(*words, stdin=given.encode(), columns=110)
    return outcome.code, outcome.stdout + outcome.stderr


def _elsewhere(words: list[str], given: str) -> tuple[int, str]:
    """Run another program in a terminal of 110 columns: exit code and output."""
    environment = os.environ | {"COLUMNS": "110", "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    result = subprocess.run(program(words), env=environment, input=given, capture_output=True, text=True, timeout=300)
    return result.returncode, result.stdout + result.stderr


def test_python_block_runs() -> None:
    """ABI-1, ST-1: the Python examples of README run as written, one after the other."""
    block = "".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    assert "import refruntime" in block
    result = subprocess.run([sys.executable, "-c", block], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def test_table_of_exports_is_current() -> None:
    """ABI-1, ABI-2: the table is what `tools/make_readme_table.py` writes."""
    assert subprocess.run([sys.executable, "tools/make_readme_table.py", "--check"], cwd=PROJECT).returncode == 0
