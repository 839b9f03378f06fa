"""README runs as written: every command, the Python blocks, and the generated table."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.meta.consoles import PROJECT, check, commands

README = (PROJECT / "README.md").read_text()
RECORDING = PROJECT / "docs" / "diff.svg"
RUN = [(command, output) for command, output in commands(README) if not command.startswith("make ")]


def test_the_two_commands_exist() -> None:
    """ABI-5: README promises `make demo` and `make test`, and the Makefile has them."""
    makefile = (PROJECT / "Makefile").read_text()
    promised = [command.split()[1] for command, _ in commands(README) if command.startswith("make ")]
    assert promised == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in promised)


LONG = ("refruntime identify", "refruntime diff tests/guest/guest.wasm")
"""How commands begin that take minutes: `make test-slow` runs them. What `diff` finds is tested case by case anyway."""


@pytest.mark.page
@pytest.mark.parametrize(
    ("command", "output"),
    [pytest.param(*item, id=item[0], marks=[pytest.mark.slow] if item[0].startswith(LONG) else []) for item in RUN],
)
def test_command_prints_what_readme_shows(command: str, output: list[str], tmp_path: Path) -> None:
    """ABI-5: each command exits as said, and prints the lines shown; `...` stands for any lines, or text in a line."""
    check(command, output, PROJECT, tmp_path)


def test_contents_lead_to_headings() -> None:
    """ABI-5: every link of the table of contents and of the jobs leads to a heading, and none is left out."""
    headings = re.findall(r"^## (.+)$", README, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    linked = set(re.findall(r"\]\(#([^)]+)\)", README))
    assert linked == slugs


def test_links_lead_to_files() -> None:
    """ABI-5: every file that README links to is there."""
    linked = [link for link in re.findall(r"\]\(([^)#]+)", README) if not link.startswith("https://")]
    assert linked
    assert not [link for link in linked if not (PROJECT / link).exists()]


def test_recording_of_a_terminal_loads_nothing() -> None:
    """FW-6: the picture of README names the first wrong tensor of a build, and needs no font or file from elsewhere."""
    svg = RECORDING.read_text(encoding="utf-8")
    text = "".join(ElementTree.fromstring(svg).itertext()).replace("\u00a0", " ")
    assert "blk.0.attn.scores differs if the attention scale is 1/sqrt(H)" in text
    assert "url(http" not in svg
    assert re.findall(r'(?:href|src)="([^"]*)"', svg) == []


@pytest.mark.slow
def test_recording_of_a_terminal_is_what_the_command_prints() -> None:
    """FW-6: the picture holds every word that the command prints today."""
    words = [sys.executable, "tools/make_recording.py", "--check"]
    result = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


@pytest.mark.page
def test_python_block_runs() -> None:
    """ABI-1, ST-1: the Python examples of README run as written, one after the other."""
    block = "".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    assert "import refruntime" in block
    result = subprocess.run([sys.executable, "-c", block], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def test_lines_for_shells(tmp_path: Path) -> None:
    """ABI-5: bash completes once it has read its line; the line for fish writes a script for its `source`."""
    section = README.partition("## In your shell")[2].partition("\n## ")[0]
    bash, fish = "".join(re.findall(r"```bash\n(.*?)```", section, re.DOTALL)).splitlines()
    program = tmp_path / "refruntime"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m refruntime "$@"\n')
    program.chmod(0o755)
    paths = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(PROJECT)}
    for script, wanted in (
        (f"{bash}\ncomplete -p refruntime", "complete -o nosort -F _refruntime_completion refruntime"),
        (fish.partition(" | source")[0], "complete --no-files --command refruntime"),
    ):
        words = ["bash", "--norc", "-c", script]
        done = subprocess.run(words, env=os.environ | paths, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert wanted in done.stdout


def test_table_of_exports_is_current() -> None:
    """ABI-1, ABI-2: the table is what `tools/make_readme_table.py` writes."""
    assert subprocess.run([sys.executable, "tools/make_readme_table.py", "--check"], cwd=PROJECT).returncode == 0
