"""docs/ci.md and docs/testing-a-build.md: their commands run as written, in a folder with a build and the goldens."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from refruntime.cases.steps import RESET, Case, Generate, Load
from tests.meta.consoles import PROJECT, check, commands
from tests.support.builds import GUEST, MUTANTS
from tests.support.recorded_sessions import visit

CI, TESTING = ((PROJECT / "docs" / name).read_text() for name in ("ci.md", "testing-a-build.md"))
SERVE = "refruntime golden serve"
HOURS = ("refruntime campaign", "refruntime fuzz")
ELSEWHERE = (SERVE, "record", *HOURS)
"""Parts of commands that are tested below."""


def runnable(text: str) -> list[object]:
    """Return the commands of a page; those that need more than a second are slow."""
    found = [each for each in commands(text) if not any(word in each[0] for word in ELSEWHERE)]
    slow = {command: [] if command.startswith("node ") else [pytest.mark.slow] for command, _ in found}
    return [pytest.param(*each, id=each[0], marks=slow[each[0]]) for each in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the pages suppose it: a right build, and the goldens in their folder."""
    place = tmp_path / "project"
    place.mkdir()
    shutil.copy(GUEST, place / "build.wasm")
    (place / "golden").symlink_to(PROJECT / "golden")
    return place


@pytest.mark.page
@pytest.mark.parametrize(("command", "output"), [*runnable(CI), *runnable(TESTING)])
def test_command(command: str, output: list[str], folder: Path, tmp_path: Path) -> None:
    """ABI-5: each command does what the page says."""
    check(command, output, folder, tmp_path)


@pytest.mark.slow
def test_a_recording_is_judged(folder: Path, tmp_path: Path) -> None:
    """ST-5: what a page did with a wrong build becomes a session, which differs where the page says."""
    model = (PROJECT / "golden" / "models" / "stories.q8_0.slm1").read_bytes()
    steps = (Load("m"), Generate(b"Once upon a time", 4), RESET)
    (session,) = visit(MUTANTS["reset_keeps_kv"], [Case("recorded/chat", steps, {"m": model})])
    (folder / "recording.json").write_bytes(session.file)
    shown = [command for command, _ in commands(TESTING) if "record" in command]
    assert shown == ["refruntime record recording.json -o chat", "refruntime diff --recorded chat"]
    check(
        shown[0], ["...calls became...steps in chat:...", "compare: refruntime diff --recorded chat"], folder, tmp_path
    )
    told = ["...", "MISMATCH recorded/chat [chat]...reset_context()...", "...kv_length oracle 0    build ...", "..."]
    check(f"{shown[1]} --no-explain  # exits 1", told, folder, tmp_path)


LONG = [each for each in commands(TESTING) if each[0].startswith(HOURS)]


@pytest.mark.parametrize(
    ("command", "output"),
    [
        pytest.param(*each, id=each[0], marks=pytest.mark.package if "--cluster" in each[0] else pytest.mark.slow)
        for each in LONG
    ],
)
def test_long_command(command: str, output: list[str], folder: Path, tmp_path: Path) -> None:
    """ABI-5: what takes minutes does what the page says; a cluster needs software that only `make test-package` has."""
    for name in ("old.wasm", "new.wasm"):
        shutil.copy(GUEST, folder / name)
    if "--cluster" not in command:
        check(command, output, folder, tmp_path)
        return
    pytest.importorskip("distributed", reason="pip install -e '.[package]'")
    words = [sys.executable, "-m", *command.split()]  # for itself: here warnings of the cluster would end it
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(output[-1].removeprefix("..."))


def test_commands_of_both_kinds_are_there() -> None:
    """ABI-5: the page shows random sessions here, several builds, and a cluster."""
    assert [command.split()[1] for command, _ in LONG] == ["fuzz", "campaign", "campaign"]
    assert "--cluster local" in LONG[2][0]


@pytest.fixture
def served(folder: Path) -> Iterator[IO[str]]:
    """The output of the command that serves the page."""
    words = [sys.executable, "-u", "-m", *SERVE.split(), "--port", "0"]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout
        process.terminate()


def test_the_page_is_served(served: IO[str]) -> None:
    """GEN-8: the command of the page prints an address, under which the page lies."""
    assert (SERVE, []) in commands(TESTING)
    address = next(line.strip() for line in served if line.startswith("http://"))
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert b"Goldens on a build" in answer.read()
