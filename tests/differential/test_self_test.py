"""The comparison itself is tested: seeded bugs of the guest are caught and named, options found, nobody else blamed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("wasmtime")

from refruntime.battery.catalogue import default_battery, select
from refruntime.contract.profile import Profile
from refruntime.differential.run import Oracle
from refruntime.hypotheses.catalogue import catalogue
from refruntime.identify.ask import Memory
from tests.drivers.comparison import CAUSES, NUMERIC_FAMILIES, OPTIONS, Recorded, catch, diverging, engines, gap_of
from tests.guest.build import Toolchain, build, option_names
from tests.support.builds import GUEST, GUEST_FOLDER, MUTANTS
from tests.support.toolchain import needed_toolchain

BUGS: dict[str, dict[str, str]] = json.loads((GUEST_FOLDER / "bugs.json").read_text("utf-8"))
pytestmark = pytest.mark.xdist_group("self-test")  # one worker records the oracle's answers for all

FEW = 6
"""Diverging cases after which a mutant has been seen enough in the fast test."""


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    """Every eighteenth case of the battery, and all on drawing and on tokenizers, with the oracle's answers.

    `test_battery_on_guest` runs all of them on the clean build.
    """
    oracle = Oracle()
    battery = default_battery(oracle.profile)
    whole = {case.name for case in select(battery, ["sampler/draw-*", "generator", "tokenizer"])}
    return Recorded.of([case for at, case in enumerate(battery) if at % 18 == 0 or case.name in whole], oracle)


@pytest.fixture(scope="module")
def whole_battery() -> Recorded:
    """All cases of the battery with the oracle's answers."""
    oracle = Oracle()
    return Recorded.of(default_battery(oracle.profile), oracle)


@pytest.fixture(scope="module")
def toolchain() -> Toolchain:
    """The Rust compiler for wasm32; skips where there is none."""
    return needed_toolchain()


def test_every_bug_has_a_name_and_every_option_a_place() -> None:
    """The self-test knows every seeded bug and every option of the guest, and no others."""
    assert CAUSES.keys() == BUGS.keys()
    assert set(CAUSES.values()) <= {hypothesis.name for hypothesis in catalogue(Profile())}
    assert sorted(OPTIONS) == option_names()
    assert all(Profile.from_choices({key: value}).choices()[key] == value for key, value in OPTIONS.values())


@pytest.mark.slow  # `test_battery_on_guest` runs the clean build on everything
def test_the_clean_build_is_not_blamed(recorded: Recorded) -> None:
    """A build that follows the contract diverges nowhere."""
    assert [run.case.name for run in diverging(engines(GUEST), recorded)] == []


QUICK = (
    "bpe_rightmost_first",
    "draw_from_32_bits",
    "norm_without_epsilon",
)
"""Mutants of the fast test: tokenizer, sampler, arithmetic. The others are as dear and fail as rarely."""


def test_the_quick_mutants_are_there() -> None:
    """The fast test runs what it names."""
    assert MUTANTS.keys() >= set(QUICK)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in MUTANTS]
)
def test_a_committed_mutant_is_caught_and_named(name: str, recorded: Recorded) -> None:
    """Every committed mutant diverges, and the hypothesis that describes its bug explains as much as any other."""
    result = catch(name, engines(MUTANTS[name]), recorded, most=FEW)
    assert result.diverging > 0
    assert result.named, f"{BUGS[name]['description']}: explained by {result.causes}"


@pytest.mark.slow
def test_every_seeded_bug_is_caught_and_most_are_named(
    whole_battery: Recorded, toolchain: Toolchain, tmp_path: Path
) -> None:
    """All seeded bugs are caught, three quarters of the numeric ones are named, and the clean build is not blamed."""
    assert [run.case.name for run in diverging(engines(GUEST), whole_battery)] == []
    results = {
        name: catch(name, engines(build(tmp_path, bugs=[name], toolchain=toolchain).path), whole_battery, most=12)
        for name in BUGS
    }
    assert [name for name, result in results.items() if result.diverging == 0] == []
    numeric = [name for name in BUGS if BUGS[name]["family"] in NUMERIC_FAMILIES]
    named = [name for name in numeric if results[name].named]
    assert 4 * len(named) >= 3 * len(numeric), sorted(set(numeric) - set(named))


@pytest.fixture(scope="module")
def memory() -> Memory:
    """Share what the oracle answers to the experiments."""
    return Memory()


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_found_as_a_gap(name: str, toolchain: Toolchain, tmp_path: Path, memory: Memory) -> None:
    """An option build is a contract gap with its rule and option, no other option and no broken rule."""
    fine, text = gap_of(name, build(tmp_path, options=[name], toolchain=toolchain).path, memory)
    assert fine, text
