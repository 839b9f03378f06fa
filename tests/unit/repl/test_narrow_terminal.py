"""What commands show in a real terminal of 60 columns: it never has to break a line itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from refruntime.resources import golden_folder
from tests.support.terminals import Terminal

SHOWN = {
    "inspect": ("inspect", "stories.f32.gguf"),
    "tensors": ("inspect", "stories.f32.gguf", "--tensors"),
    "trace": ("trace", "stories.q8_0.slm1", "Once"),
    "golden list": ("golden", "list"),
    "a rule": ("contract", "--rule", "SA-5"),
    "help": ("--help",),
    "tokens": ("tokenize", "stories.q8_0.slm1", "the fox"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_no_line_is_broken(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ABI-5: joining what the terminal broke changes nothing, because it broke nothing."""
    monkeypatch.chdir(golden_folder() / "models")  # a path is shown whole, as it was given
    terminal = Terminal(tmp_path, columns=60, rows=30)
    try:
        terminal.run(*SHOWN[name])
        terminal.wait_for("left with 0")
        shown, joined = (terminal.screen(history=True, joined=joined) for joined in (False, True))
        assert [line.rstrip() for line in joined.splitlines()] == [line.rstrip() for line in shown.splitlines()]
        assert len(shown.strip().splitlines()) > 3
    finally:
        terminal.stop()
