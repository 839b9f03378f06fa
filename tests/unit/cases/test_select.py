"""Which cases a pattern means: the rows that the Node consumer is held to as well (golden/FORMAT.md, section 7)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from refruntime.battery.catalogue import select
from refruntime.cases.select import fits, fits_any, is_named
from refruntime.cases.steps import INIT, Case
from refruntime.golden.corpus import select_ids

ROWS = json.loads((Path(__file__).resolve().parents[2] / "support" / "patterns.json").read_text("utf-8"))["rows"]


@pytest.mark.parametrize(("pattern", "inside", "outside"), ROWS)
def test_shell_patterns(pattern: str, inside: list[str], outside: list[str]) -> None:
    """ABI-5: every row of the table that says what a shell pattern means."""
    assert [name for name in [*inside, *outside] if is_named(name, pattern)] == inside


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("abi", True), ("abi/in", False), ("abi/init", True), ("ab", False), ("ST-1", True), ("ST-2", False),
        ("*in*", True),
    ],
)  # fmt: skip
def test_battery_and_goldens_mean_the_same(pattern: str, meant: bool) -> None:
    """ABI-5: a family, a name, a rule and a shell pattern mean the same cases in a battery and in a corpus."""
    assert fits("abi/init", ("ST-1",), pattern) == meant
    assert bool(select([Case("abi/init", (INIT,), rules=("ST-1",))], [pattern])) == meant
    assert bool(select_ids({"abi/init": ("ST-1",)}, (pattern,))) == meant
    assert fits_any("abi/init", (), ())
