"""What a golden catches, `diff` catches: the sessions of the goldens are cases of the battery, from one catalogue."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

pytest.importorskip("wasmtime")

from refruntime import resources
from refruntime.battery.catalogue import default_battery
from refruntime.battery.edge_cases import with_checksum_of
from refruntime.battery.features import feature_finder, find_for_cases
from refruntime.cases.needs import needs_of
from refruntime.cases.observation import code_of
from refruntime.cases.steps import Case, Load
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.differential.evaluate import evaluate
from refruntime.differential.remembered import Remembered
from refruntime.differential.run import Oracle, observe
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import FINE
from refruntime.engines.base import Engine
from refruntime.engines.reference import ReferenceEngine
from refruntime.golden.case import ModelSpec
from refruntime.golden.compare import compare_with_golden
from refruntime.golden.corpus import Corpus
from refruntime.golden.suite import OpenedGolden, golden_suite
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.hypothesis import Changes, varied_engine
from refruntime.model.forward import Transformer
from refruntime.model.kv_cache import KVCache
from tests.guest.build import build, load_unknown_bugs
from tests.support.builds import GUEST_FOLDER, MUTANTS, wasm_build
from tests.support.toolchain import needed_toolchain

PROFILE = Profile()
BUGS: dict[str, dict[str, str]] = json.loads((GUEST_FOLDER / "bugs.json").read_text("utf-8"))
UNKNOWN = load_unknown_bugs()
"""Bugs that no catalogue of causes knows; a golden catches most of them."""

CHECKSUM_AT = 120
"""Where an SLM1 file has its checksum (contract section 10)."""


@pytest.fixture(scope="module")
def cases() -> Mapping[str, Case]:
    """Every golden as the battery has it, by the id of the golden."""
    return {case.name.removeprefix("golden/"): case for case in default_battery(PROFILE, patterns=["golden"])}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """The goldens."""
    return Corpus(resources.golden_folder())


def caught_by_goldens(fresh: Callable[[], Engine], corpus: Corpus, ids: Iterable[str]) -> list[str]:
    """Return which of these goldens tell a build from a right one."""
    goldens = golden_suite(corpus, fresh)
    chosen = list(ids)
    return [golden.case.name for golden in goldens.run(goldens.cases(chosen)).cases if golden.verdict not in FINE]


def missed(fresh: Callable[[], Engine], cases: Mapping[str, Case], caught: Iterable[str]) -> list[str]:
    """Return which of these goldens catch a build that `diff` does not catch in the same session."""
    suite = Suite(fresh, Oracle(), features=feature_finder(fresh, PROFILE))
    chosen = [cases[identifier] for identifier in caught if identifier in cases]  # not what shows a missing feature
    return [result.case.name for result in suite.run(chosen).cases if result.verdict in FINE]


def test_the_battery_has_every_golden(cases: Mapping[str, Case], corpus: Corpus) -> None:
    """DG-3: no session is left out or changed: same steps, same artifacts, same rules as the files say."""
    assert list(cases) == corpus.ids()
    for identifier, case in cases.items():
        golden = corpus.case(identifier)
        assert (repr(case.steps), case.rules) == (repr(golden.steps), golden.rules)  # as text, for NaN equals nothing
        assert case.models.keys() == golden.models.keys()
        for name, spec in golden.models.items():
            if spec == ModelSpec(spec.file):
                assert case.models[name] == corpus.path(spec.file).read_bytes()


def test_patterns_choose_a_family_of_goldens(cases: Mapping[str, Case]) -> None:
    """`golden/sampling` is what it is for pytest: a family of the goldens."""
    chosen = default_battery(PROFILE, patterns=["golden/sampling"])
    assert [case.name for case in chosen] == [f"golden/{i}" for i in cases if i.startswith("sampling/")]
    assert default_battery(PROFILE, patterns=["golden/none"]) == ()


@pytest.mark.parametrize(
    ("identifier", "status"),
    [("generate/stories-f32-probe", Status.Ok), ("containers/checksum-wrong", Status.InvalidHeader)],
)
@pytest.mark.parametrize("rotation", [5, 7])
def test_checksums_follow_the_profile(identifier: str, status: Status, rotation: int) -> None:
    """SL-5: under another formula files that were right stay right, and what was wrong on purpose stays wrong."""
    profile = replace(PROFILE, checksum_rotation=rotation)
    (case,) = default_battery(profile, patterns=[f"golden/{identifier}"])
    seen = observe(case, Oracle(profile).engine(), profile)
    assert [code_of(each) for each in seen if isinstance(each.step, Load)][-1] == status


def test_only_right_checksums_are_replaced(cases: Mapping[str, Case]) -> None:
    """SL-5: files that are no SLM1 or carry another checksum stay as they are, and so does every file by default."""
    other = replace(PROFILE, checksum_rotation=7)
    data = next(data for case in cases.values() for data in case.models.values() if data[:4] == b"SLM1")
    wrong = data[:CHECKSUM_AT] + struct.pack("<Q", 1) + data[CHECKSUM_AT + 8 :]
    assert with_checksum_of(wrong, other) == wrong
    assert with_checksum_of(b"GGUF" + bytes(200), other) == b"GGUF" + bytes(200)
    assert with_checksum_of(data, PROFILE) is data


def test_a_draw_of_23_bits_is_caught(corpus: Corpus, cases: Mapping[str, Case]) -> None:
    """PR-3: a build that draws 23 bits instead of 24 fails a golden, and the same session in `diff`."""
    (hypothesis,) = [each for each in catalogue(PROFILE) if each.name == "draw-23-bits"]
    ids = [identifier for identifier in cases if identifier.startswith("sampling/")]
    caught = caught_by_goldens(fresh := lambda: varied_engine(hypothesis.changes, Oracle()), corpus, ids)
    assert caught
    assert missed(fresh, cases, caught) == []


class KeysOfTheLayerBelow(KVCache):
    """From the third layer on the keys are those of the layer below."""

    def visible(self, layer: int, end: int) -> tuple[NDArray[Any], NDArray[Any]]:
        keys, values = super().visible(layer, end)
        return (keys if layer < 2 else super().visible(layer - 1, end)[0]), values


class WithThem(Transformer):
    """A forward pass over such a cache."""

    def new_cache(self) -> KVCache:
        return KeysOfTheLayerBelow(self.hyperparameters, self.numerics.dtype)


def test_the_layer_below_is_caught() -> None:
    """FW-6: models of three layers and more are part of what `diff` runs, wherever it is installed."""
    (case,) = default_battery(PROFILE, resources.trained_artifacts(), ["generate/stories.f32.slm1-probe"])
    suite = Suite(lambda: varied_engine(Changes(transformer=WithThem), Oracle()), Oracle())
    assert suite.judge(case, suite.offered(), explain=False).verdict not in FINE


QUICK = ("capacity_off_by_one", "draw_from_32_bits", "q4_high_nibble_first", "rope_split_halves")
"""Mutants of the fast test: state, sampler, container, arithmetic. All bugs follow below, slowly."""


@pytest.mark.parametrize("name", QUICK)
def test_a_golden_that_catches_a_mutant_does_so_in_diff(name: str, corpus: Corpus, cases: Mapping[str, Case]) -> None:
    """SA-6, FW-5, ST-5: of the sessions that cite the broken rule, all that catch the mutant frozen catch it live."""
    ids = [identifier for identifier, case in cases.items() if BUGS[name]["rule"] in case.rules]
    caught = caught_by_goldens(fresh := wasm_build(MUTANTS[name]), corpus, ids)
    assert caught
    assert missed(fresh, cases, caught) == []


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """An oracle that answers each session once, for however many builds."""
    return Oracle(remembered=Remembered(tmp_path_factory.mktemp("answers")))


@pytest.fixture(scope="module")
def opened(corpus: Corpus, cases: Mapping[str, Case]) -> Mapping[str, OpenedGolden]:
    """Every golden with its frozen answers, read once."""
    goldens = golden_suite(corpus, lambda: ReferenceEngine())
    return {identifier: goldens.open(identifier) for identifier in cases}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [  # two workers, each with the goldens and the oracle's answers
        pytest.param(name, marks=pytest.mark.xdist_group(f"goldens of bugs {number % 2}"))
        for number, name in enumerate([*BUGS, *UNKNOWN])
    ],
)
def test_a_golden_that_catches_a_bug_does_so_in_diff(
    name: str,
    corpus: Corpus,
    cases: Mapping[str, Case],
    opened: Mapping[str, OpenedGolden],
    oracle: Oracle,
    tmp_path: Path,
) -> None:
    """ABI-1: for every seeded bug, the first golden that catches it catches it in `diff` too.

    The sessions that cite the broken rule come first. Each runs on the build once; its answers are held against the
    frozen ones and against the oracle's. What one session shows is enough: `diff` runs them all.
    """
    toolchain = needed_toolchain()
    fresh = wasm_build(build(tmp_path, bugs=[name], opt_level="0", toolchain=toolchain).path)
    offered = golden_suite(corpus, fresh).offered()
    found = find_for_cases(fresh, PROFILE, cases.values()).of_one_case  # who refuses every file is not poor but wrong
    broken = BUGS[name]["rule"] if name in BUGS else ""
    for identifier in sorted(cases, key=lambda identifier: broken not in cases[identifier].rules):
        case = cases[identifier]
        if found.reason(needs_of(case)):
            continue
        seen = observe(case, fresh(), PROFILE)
        expected = opened[identifier].expectation.steps
        frozen = replace(case, steps=case.steps[: len(expected)])
        if compare_with_golden(frozen, expected, seen[: len(expected)], offered)[0].first is not None:
            assert evaluate(case, seen, oracle, offered).verdict not in FINE, identifier
            return
    assert name in UNKNOWN, "no golden catches it"
