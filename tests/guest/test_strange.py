"""Strange builds answer as the oracle does under what their truth says: nothing is strange but what is declared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.dialects import Dialect, names_of
from tests.guest.random_builds import Variant, build_all, random_variants

pytest.importorskip("wasmtime")

from refruntime.client import Client
from refruntime.engines.base import EngineTrap
from refruntime.engines.wasm import WasmEngine, WasmModule
from tests.guest.strange import Comparison, models
from tests.support.toolchain import needed_toolchain

pytestmark = pytest.mark.slow

ALONE = [
    f"{group}={name}"
    for group in ("formula", "comparison", "form", "nesting", "messages", "without")
    for name in names_of(group)
]
"""Choices that are built alone; starts, rotations, names, orders and extras meet in the random combinations."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of built modules; skips without a compiler."""
    needed_toolchain()
    return tmp_path_factory.mktemp("strange")


def compared(variants: list[Variant], folder: Path) -> Iterator[Comparison]:
    """Build, compare, and say what repeats a failure."""
    for path in build_all(variants, folder):
        comparison = Comparison(path, json.loads(path.with_name(path.name + ".json").read_text("utf-8")))
        truth = comparison.truth
        assert comparison.run() == [], f"O{truth['opt_level']} {truth['switches']} {truth['choices']}"
        yield comparison


def test_choices_alone(folder: Path) -> None:
    """SL-5, DG-3, DG-6, ERR-3, ID-1: each choice alone changes what it says and nothing else."""
    variants = [Variant(dialect=Dialect.of([choice])) for choice in ALONE]
    results = list(compared(variants, folder))
    assert len(results) == len(ALONE) >= 35
    assert all(result.calls >= 150 for result in results)


def test_random_combinations(folder: Path) -> None:
    """ID-1, ID-3: options, dialect and missing features together, at every optimisation level."""
    results = list(compared(random_variants(20, 11), folder))
    assert sum(result.tokens for result in results) >= 3000
    assert {result.truth["opt_level"] for result in results} >= {"1"}


def test_broken_on_purpose(folder: Path) -> None:
    """ID-2: a build that traps, one that never answers twice alike, one whose sum changes with every load."""
    variants = [Variant(dialect=Dialect.of([f"behaviour={name}"])) for name in names_of("behaviour")]
    file = models(Comparison.profile_of({}))[0].data
    found = {}
    for variant, path in zip(variants, build_all(variants, folder), strict=True):
        client = Client(WasmEngine(WasmModule(path.read_bytes())))
        answers: list[object] = []
        try:
            for _ in range(3):
                answers.append(client.load_model(file))
                client.generate(b"abc", 8)
                answers.append(client.result())
        except EngineTrap:
            answers.append("trap")
        found[variant.dialect.one("behaviour")] = answers
    assert found["traps_on_first_file"] == ["trap"]
    assert found["checksum_varies"][::2] == [0, 6, 6]
    assert found["answers_vary"][::2] == [0, 0, 0]
    assert len(set(found["answers_vary"][1::2])) == 3
