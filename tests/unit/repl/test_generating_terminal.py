"""`run` and `chat` in a real terminal: text as it comes, Ctrl-C, Ctrl-D, what would break the screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chat_models import CHATML, model_file
from tests.support.terminals import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal that is ended whatever happens."""
    made = Terminal(tmp_path, rows=24)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """Write a model that says NUL for as long as it may."""
    path = tmp_path / "zeros.gguf"
    path.write_bytes(model_file(CHATML, context=100_000))
    return path


def test_an_interrupted_run_keeps_its_text(terminal: Terminal, endless: Path) -> None:
    """GEN-8: text streams, what controls a terminal is shown instead, Ctrl-C keeps it and says how much it was."""
    terminal.run("run", endless, "Once", "-n", 90000)
    terminal.wait_for("␀␀␀")
    terminal.keys("C-c")
    screen = terminal.wait_for("left with 130")
    assert "stopped: interrupted, numerics seq32" in screen.replace("\n", "")
    assert "␀" in screen


def test_raw_text_reaches_the_terminal(terminal: Terminal, endless: Path) -> None:
    """GEN-8: with --raw bytes are written as they are; NUL shows nothing."""
    terminal.run("run", endless, "Once", "-n", 30, "--raw")
    screen = terminal.wait_for("left with 0")
    assert "30 generated" in screen
    assert "\u2400" not in screen


def test_a_chat(terminal: Terminal, endless: Path) -> None:
    """GEN-8: /help, an answer that Ctrl-C ends, the turn behind it, Ctrl-C at an empty line, Ctrl-D."""
    terminal.run("chat", endless, "-n", 90000)
    terminal.wait_for("\n>")
    terminal.type("/help")
    terminal.wait_for("/save FILE")
    terminal.type("hi")
    terminal.wait_for("␀␀␀")
    terminal.keys("C-c")
    terminal.wait_for("stopped: interrupted")
    terminal.type(f"/save {terminal.folder / 'a.json'}")
    terminal.wait_for("wrote 1 turn to")
    terminal.keys("C-c")
    terminal.wait_for("(Ctrl-D or /quit leaves)")
    terminal.type("/sav")
    terminal.wait_for("perhaps /save?")
    terminal.keys("C-d")
    terminal.wait_for("left with 0")
