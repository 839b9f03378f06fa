"""Bugs that no catalogue of hypotheses knows: each spoils the tensor that its row names, where and how it says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.guest import build
from tests.guest.random_builds import Variant, build_all

pytest.importorskip("wasmtime")

from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile
from tests.drivers.witness import PROMPT as STORY
from tests.drivers.witness import model_path, of_unknown
from tests.guest.probe import Difference, differences
from tests.support.toolchain import needed_toolchain

PROJECT = Path(build.GUEST).parent.parent
PROMPT = b"Once upon a time there was a little hen who"
SHAPE = Shape(260, 48, 3, 6, 80)
MODELS: Mapping[str | None, tuple[int, DType]] = {
    None: (2, DType.F32),
    "q8_0": (3, DType.Q8_0),
    "q4_0": (4, DType.Q4_0),
}
Float32 = NDArray[np.float32]


def _cut(values: Float32, bits: int) -> bool:
    return not np.any(values.view(np.uint32) & np.uint32((1 << bits) - 1))


def _same_ratio(expected: Float32, found: Float32) -> bool:
    ratio = found.astype(float) / expected
    return bool(np.ptp(ratio) <= 1e-4 * abs(ratio[0]))


PATTERNS: dict[str, Callable[[Float32, Float32], bool]] = {
    "constant factor": _same_ratio,
    "constant offset": lambda expected, found: bool(np.ptp(found - expected) < 1e-5),
    "sign": lambda expected, found: np.array_equal(found, -expected),
    "zeros": lambda expected, found: not found.any(),
    "rounded to bf16": lambda expected, found: _cut(found, 16) and np.allclose(found, expected, rtol=2**-8),
    "rounded to f16": lambda expected, found: np.array_equal(found, expected.astype(np.float16).astype(np.float32)),
    "rounded to n bits": lambda expected, found: _cut(found, 12) and np.allclose(found, expected, rtol=2**-10),
    "NaN from here on": lambda expected, found: bool(np.isnan(found).all()),
    "rounding": lambda expected, found: np.allclose(found, expected, rtol=1e-5, atol=1e-6),
    "clipped": lambda expected, found: np.array_equal(found, np.clip(expected, -0.5, 0.5)),
}
"""Pattern -> does it hold for the elements that are wrong? Patterns that are a sentence only are not in here."""


def test_tables_name_the_switches_of_the_source() -> None:
    """FW-4: every bug of the tables is a switch in the source, and the other way round; at least thirty of them."""
    source = "".join(path.read_text("utf-8") for path in sorted((Path(build.GUEST) / "src").glob("*.rs")))
    bugs = build.every_unknown_bug()
    assert len(bugs) == sum(len(build.load_unknown_bugs(group)) for group in (None, *build.GROUPS))
    assert set(re.findall(r'\bunknown = "(\w+)"', source)) == set(bugs)
    assert len(bugs) >= 30
    assert not set(bugs) & set(build.load_bugs())
    for name, bug in bugs.items():
        assert {"family", "rule", "description", "tensor", "position", "pattern", "text"} <= set(bug), name
        assert bug.get("needs") in MODELS, name
        assert re.fullmatch(r"blk\.\d\.\S+|token_embd|output_norm|logits", bug["tensor"]), name
    for group in build.GROUPS:
        assert all("also" in bug for bug in build.load_unknown_bugs(group).values()), group


def test_no_catalogue_knows_them() -> None:
    """FW-4: nothing of the package reads the table or names one of its bugs."""
    names = re.compile(rf"\b({'|'.join(('unknown_bugs', *build.every_unknown_bug()))})\b")
    for path in sorted((PROJECT / "refruntime").rglob("*.py")):
        assert names.search(path.read_text("utf-8")) is None, path


@pytest.mark.slow
def test_each_spoils_what_its_row_says(tmp_path: Path) -> None:
    """FW-2 to FW-9, SL-2: first wrong tensor, position and pattern of every unknown bug; the clean guest has none."""
    needed_toolchain()
    profile = Profile()
    models = {
        needs: random_model(seed, SHAPE, dtype, block_size=8, profile=profile)
        for needs, (seed, dtype) in MODELS.items()
    }
    bugs: dict[str, dict[str, Any]] = build.load_unknown_bugs()
    variants = [Variant(probe=True), *(Variant(bug=name, probe=True) for name in bugs)]
    modules = dict(zip([None, *bugs], build_all(variants, tmp_path), strict=True))
    for model in models.values():
        found = list(differences(modules[None], model, PROMPT))
        assert len(found) > 3000
        assert not any(found)
    failed = {}
    for name, bug in bugs.items():
        first = next((item for item in differences(modules[name], models[bug.get("needs")], PROMPT) if item), None)
        if problem := _problem(bug, first):
            failed[name] = problem
    assert failed == {}, json.dumps(failed, indent=2)


@pytest.mark.slow
@pytest.mark.parametrize("group", build.GROUPS)
def test_each_of_a_group_spoils_what_its_row_says(group: str, tmp_path: Path) -> None:
    """FW-1 to FW-9, SL-2, GG-8: the same of the groups, on the model and the prompt that the witness sees."""
    needed_toolchain()
    bugs: dict[str, dict[str, Any]] = build.load_unknown_bugs(group)
    failed = {}
    for (name, bug), module in zip(
        bugs.items(), build_all([Variant(bug=name, probe=True) for name in bugs], tmp_path), strict=True
    ):
        truth = of_unknown(bug)
        found = differences(module, model_path(truth["model"]).read_bytes(), truth.get("prompt", STORY).encode())
        if problem := _problem(bug, next((item for item in found if item), None)):
            failed[name] = problem
    assert failed == {}, json.dumps(failed, indent=2)


def _problem(bug: Mapping[str, Any], first: Difference | None) -> str | None:
    """Say what is not as the row says; None if all is."""
    if first is None:
        return "nothing is wrong"
    place = first.position if bug["position"] is None else bug["position"]
    if first.tensor not in (bug["tensor"], *bug.get("accepted", ())) or first.position != place:
        return f"first wrong is {first.tensor} at position {first.position}"
    wrong = first.expected.view(np.uint32) != first.found.view(np.uint32)
    holds = PATTERNS.get(bug["pattern"]) if first.tensor == bug["tensor"] else None
    if holds is not None and not holds(first.expected[wrong], first.found[wrong]):
        return f"no {bug['pattern']}: expected {first.expected[wrong][:6]}, found {first.found[wrong][:6]}"
    return None
