"""Run the commands of a document's console blocks as written, for tests."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import command_line

PROJECT = Path(__file__).resolve().parents[2]


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Return every command of a document with the output lines that follow it."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def program(words: list[str]) -> list[str]:
    """Return the words that run a command of a document here; skip one whose program this machine does not have."""
    if words[0] == "pytest":
        return [sys.executable, "-m", *words]
    found = shutil.which(words[0])
    if found is None:
        pytest.skip(f"{words[0]} is not installed")
    return [found, *words[1:]]


def check(command: str, output: list[str], folder: Path, scratch: Path) -> None:
    """Run a command in a folder, `/tmp/` being a scratch folder: it exits as said and prints the lines that are shown.

    `# exits N` behind the command is its exit code; `...` stands for any lines, or for text in a line.
    """
    code = int((re.search(r"# exits (\d)", command) or ["", "0"])[1])
    line, _, source = command.partition(" < ")
    words = shlex.split(line.replace("/tmp/", f"{scratch}/"), comments=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.chdir(folder)
        given = (folder / source).read_text() if source else ""
        ended, text = _here(words[1:], given) if words[0] == "refruntime" else _elsewhere(words, given)
    assert ended == code, text
    shown = [line.replace("/tmp/", f"{scratch}/") for line in output]
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
    environment = os.environ | {"COLUMNS": "110", "PYTEST_ADDOPTS": "-p no:cacheprovider", "PYTHONPATH": str(PROJECT)}
    result = subprocess.run(program(words), env=environment, input=given, capture_output=True, text=True, timeout=300)
    return result.returncode, result.stdout + result.stderr
