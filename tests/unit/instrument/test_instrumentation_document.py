"""The worked example of docs/instrumentation.md runs as it is written, and so does its command."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from tests.support.command_line import command

PROJECT = Path(__file__).resolve().parent.parent.parent.parent
TEXT = (PROJECT / "docs" / "instrumentation.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_worked_example_prints_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """ID-2: the example reads the guest, counts its loops and loads a model."""
    monkeypatch.chdir(PROJECT)
    [code], [expected] = blocks("python"), blocks("text")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/instrumentation.md", "exec"), {})
    assert printed.getvalue() == expected


def test_its_command_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ID-2: the command seals a model of the project for the guest."""
    monkeypatch.chdir(PROJECT)
    [console] = blocks("console")
    words = shlex.split(console.removeprefix("$ refruntime ").replace("/tmp", str(tmp_path)))
    outcome = command(*words)
    assert outcome.code == 0, outcome.stderr
    assert "read off the build's own comparison" in outcome.stdout
    assert (tmp_path / "sealed.slm1").stat().st_size > 100_000
