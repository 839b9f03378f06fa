"""The tutorial: its commands are typed as they stand there, and every line that they show is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from refruntime import Profile, Session
from tests.meta import transcripts

pytest.importorskip("wasmtime", reason="the tutorial runs a build; the extra `wasm` is not installed")

PROJECT = Path(__file__).resolve().parent.parent.parent
PAGE = PROJECT / "docs" / "find-a-sampler-bug.md"


@pytest.mark.page
def test_the_page_shows_what_its_commands_show() -> None:
    """SA-2: run again, the page is the page; `python -m tests.meta.transcripts PAGE` writes it anew."""
    page = PAGE.read_text(encoding="utf-8")
    assert transcripts.run(page).splitlines() == page.splitlines()


def test_the_bug_is_found_in_ten_commands() -> None:
    """SA-2: the page keeps its promise of ten words, on a build that the comparison knows as buggy."""
    page = PAGE.read_text(encoding="utf-8")
    blocks = [body for kind, body in transcripts.BLOCK.findall(page) if kind == "console"]
    assert sum(len(transcripts.commands(body, "> ")) for body in blocks) == 10
    assert "CONTRACT_GAP session/repl" in "".join(blocks[:-1])
    assert "MISMATCH session/repl" in blocks[-1]
    assert "first     sampler selection differs if one candidate more than top_k is retained" in blocks[-1]


@pytest.mark.slow
def test_a_page_that_says_something_else_is_noticed() -> None:
    """A changed number in the page does not survive a run."""
    page = PAGE.read_text(encoding="utf-8")
    wrong = page.replace("missed by   0.188", "missed by   0.189")
    assert wrong != page
    assert transcripts.run(wrong) == page


def test_the_last_question_tells_the_two_causes_apart() -> None:
    """SA-2, SA-5: at top_p 0.5 one candidate too many gives the text of the option `>`, at 0.45 another one.

    That is what the page concludes from: equal weights, so that five candidates stand for a top_k of 5.
    """
    even = PROJECT / "golden" / "models" / "table-even.f32.slm1"

    def text(top_k: int, top_p: float, profile: Profile | None = None) -> bytes:
        session = Session(even, profile).set(temperature=1, top_k=top_k, top_p=top_p, seed=11)
        return session.prompt("-").step(12).text

    option = Profile(top_p_comparison=">")
    assert text(5, 0.5) == text(4, 0.5, option) == b"021111001010"
    assert text(4, 0.45) == text(4, 0.45, option) != text(5, 0.45)
    assert text(5, 0.45) in PAGE.read_bytes()
