"""Lines of a report in narrow terminals: broken between words, under where the value begins; commands stay whole."""

from __future__ import annotations

import pytest

from refruntime.show.folding import folded


@pytest.mark.parametrize(
    ("line", "columns", "shown"),
    [
        ("short", 20, ["short"]),
        ("  note      one two three four five", 36, ["  note      one two three four five"]),
        (
            "  rule      SA-2  Else the highest logits are retained",
            40,
            ["  rule      SA-2  Else the highest", "            logits are retained"],
        ),
        ("MISMATCH sampler/draw [b.wasm]  step 2 (no step before)", 40, None),
        ("build     a.wasm  sha256 " + "ab" * 32, 60, ["build     a.wasm  sha256", " " * 10 + "ab" * 32]),
        ("  repro     refruntime diff build.wasm --filter sampler/one", 30, None),
        ("            refruntime diff build.wasm --golden", 30, ["            refruntime diff build.wasm --golden"]),
        ("  first     sampler selection differs", 20, ["  first     sampler", "      selection", "      differs"]),
    ],
)
def test_lines(line: str, columns: int, shown: list[str] | None) -> None:
    """ABI-5: no word is cut, none is lost, and no line is longer than the terminal unless one word or a command is."""
    lines = folded(line, columns)
    assert [word for each in lines for word in each.split()] == line.split()
    if shown is not None:
        assert lines == shown
    assert "refruntime" in line or all(len(each) <= columns or " " not in each.strip() for each in lines)
