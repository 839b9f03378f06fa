"""The witness on every seeded bug of arithmetic and sampler, and on those that no catalogue knows: asserted counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wasmtime")

from tests.drivers.witness import Outcome, judge, known_bugs, of_unknown
from tests.guest.build import load_unknown_bugs
from tests.guest.random_builds import Variant, build_all
from tests.support.toolchain import needed_toolchain

pytestmark = pytest.mark.slow


def judged(table: dict[str, dict[str, Any]], folder: Path) -> list[Outcome]:
    """Build every bug and look into it."""
    needed_toolchain()
    modules = build_all([Variant(bug=name) for name in table], folder)
    outcomes = []
    for (bug, truth), module in zip(table.items(), modules, strict=True):
        outcomes.append(judge(bug, truth, module.read_bytes()))
        print(outcomes[-1])  # -rP shows it
    return outcomes


def misses(outcomes: list[Outcome]) -> str:
    return json.dumps({o.bug: [o.said, o.pattern, o.text] for o in outcomes if not o.named}, indent=2)


def test_the_first_wrong_tensor_of_every_known_bug(tmp_path: Path) -> None:
    """FW-2 to FW-9, SA-1 to SA-6, SL-2, PR-1 to PR-4: at least 47 of the 48."""
    outcomes = judged(known_bugs(), tmp_path)
    assert len(outcomes) == 48
    assert sum(outcome.located for outcome in outcomes) >= 47, misses(outcomes)


def test_the_first_wrong_tensor_and_the_pattern_of_unknown_bugs(tmp_path: Path) -> None:
    """FW-2 to FW-9, SL-2: of 66 that no catalogue knows at least 64 are located and 59 have the right pattern."""
    outcomes = judged({name: of_unknown(bug) for name, bug in load_unknown_bugs().items()}, tmp_path)
    assert len(outcomes) == 66
    assert sum(outcome.located for outcome in outcomes) >= 64, misses(outcomes)
    assert sum(outcome.named for outcome in outcomes) >= 59, misses(outcomes)


@pytest.mark.parametrize(("group", "count", "located", "named"), [("practice", 15, 15, 15), ("exam", 30, 30, 28)])
def test_bugs_that_were_written_after_the_witness(
    group: str, count: int, located: int, named: int, tmp_path: Path
) -> None:
    """FW-1 to FW-9, SL-2, GG-8: what was reached after their first sight, which docs/find-a-kernel-bug.md tells."""
    outcomes = judged({name: of_unknown(bug) for name, bug in load_unknown_bugs(group).items()}, tmp_path)
    assert len(outcomes) == count
    assert sum(outcome.located for outcome in outcomes) >= located, misses(outcomes)
    assert sum(outcome.named for outcome in outcomes) >= named, misses(outcomes)
