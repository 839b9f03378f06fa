"""`diff` in a real terminal: the mismatch at once, its causes below, colours, and what Ctrl-C leaves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.terminals import Terminal

pytest.importorskip("wasmtime", reason="a build is run; the extra `wasm` is not installed")

MUTANTS = Path(__file__).resolve().parents[2] / "guest" / "mutants"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A narrow terminal that is ended whatever happens."""
    made = Terminal(tmp_path, columns=76, rows=60)
    try:
        yield made
    finally:
        made.stop()


def painted(colour: int, word: str) -> str:
    """Return the pattern of a word in a colour, as tmux writes it."""
    return rf"\x1b\[[0-9;]*{colour}m(?:\x1b\[[0-9;]*m)*{word}"


def test_a_difference_and_its_cause(terminal: Terminal) -> None:
    """PR-3: verdict, place, values and causes in this order, in colour; rules with their sentence, no word broken."""
    build = MUTANTS / "guest-bug-draw_from_32_bits.wasm"
    filters = ["--identify", "never", "--filter", "sampler/draw-rounded-over-an-edge*"]
    terminal.run("diff", build, *filters, "--max-fail", 1, XDG_CACHE_HOME=str(terminal.folder))
    screen = terminal.wait_for("left with 1")
    parts = [
        "sampler/draw-rounded",
        "  token     oracle",
        "  margin",
        "  option",
        "  first",
        "  or",
        "  rule      PR-3",
        "total",
    ]
    found = re.search(".*?".join(map(re.escape, parts)), screen, re.DOTALL)
    assert found, screen
    assert "u = (output >> 40) as f32 / 16777216.0" in " ".join(screen.split())
    parted = [line for line in screen.partition("  repro")[0].splitlines() if re.match(r"\S", line)]
    heads = ("build", "contract", "profile", "engine", "oracle", "numerics", "host", "note", "MISMATCH", "CONTRACT_GAP")
    assert [line for line in parted if not line.startswith(heads)] == []
    assert re.search(painted(33, "CONTRACT_GAP"), terminal.screen(colours=True, history=True)) or re.search(
        painted(31, "MISMATCH"), terminal.screen(colours=True, history=True)
    )


@pytest.mark.slow
def test_an_interrupted_comparison_says_what_it_did(terminal: Terminal) -> None:
    """SA-2: Ctrl-C behind the first mismatch keeps it, and a summary of what was compared follows."""
    build = MUTANTS / "guest-bug-top_k_off_by_one.wasm"
    filters = ["--identify", "never", "--filter", "sampler"]
    terminal.run("diff", build, *filters, XDG_CACHE_HOME=str(terminal.folder))
    terminal.wait_for("MISMATCH")
    terminal.keys("C-c")
    terminal.wait_for("left with")
    screen = terminal.screen(colours=True, history=True)
    assert re.search(painted(31, "MISMATCH"), screen)
    words = " ".join(terminal.screen(history=True).split())
    assert re.search(r"\d+ cases did not run, because the run was interrupted MISMATCH: they differ left", words)
    assert "left with 130" in words
