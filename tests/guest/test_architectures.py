"""The guest's further architectures, from two stored modules: all defaults, and the other option of every switch.

The guest is written from the contract, the oracle is another implementation: where both have the same bits, and
`tests/second_opinion` the same numbers in float64, no number is one that a single program made up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wasmtime")

from refruntime.battery.architectures import architecture_cases
from refruntime.battery.features import find_features, needs_of
from refruntime.cases.observation import code_of, diagnostics_of
from refruntime.cases.steps import NEXT_TOKEN, Case, Configure, Generate, Load, Step
from refruntime.contract.dialect import Dialect as Names
from refruntime.contract.fields import DIAGNOSTIC_NAMES
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.differential.compare import compare_observations
from refruntime.differential.run import Oracle, observe
from refruntime.identify.gguf_experiments import RULES, gguf_experiments
from refruntime.identify.prediction import Predictions
from refruntime.identify.settle import Experiment, Settlement
from refruntime.identify.texts import Translation
from refruntime.numerics import CompiledSeq32
from tests.guest import build
from tests.guest.dialects import Dialect, load_dialects
from tests.second_opinion.random_zoo import make
from tests.support.builds import GUEST, GUEST_FOLDER, wasm_build

MODULES = sorted((GUEST_FOLDER / "architectures").glob("*.wasm"))
SWITCHES = {switch.key: switch for switch in Profile.switches() if switch.rule in RULES}
"""What shows in an architecture alone."""
ARCHITECTURES = {"phi3": "phi3", "gptneox": "gptneox", "gpt_oss": "gpt-oss", "lfm2moe": "lfm2moe"}
"""Name in the tables of the guest -> name in files."""
ZOO = (
    "gpt-oss",
    "gpt-oss-yarn",
    "gptneox",
    "gptneox-sequential",
    "lfm2moe",
    "lfm2moe-softmax",
    "llama-yarn",
    "phi3",
    "phi3-window",
)
PROMPTS = (
    b"hello the world in",
    b"ab",
    b"z z z z z z z z z z",
    b"0123456789 0123456789",
    b"Q!",
    b"a theory of ell",
    b"x",
)


def record(module: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(module.with_name(module.name + ".json").read_text("utf-8"))
    return found


def declared(module: Path) -> dict[str, Any]:
    """Return all switches of the module that show in an architecture, with their options."""
    chosen = {key: switch.options[0] for key, switch in SWITCHES.items()}
    return chosen | build.declared_choices(record(module)["options"])


def test_the_modules_have_all_options() -> None:
    """GG-12, GG-15: each option of each of the four switches is in one of two modules, whose records are theirs."""
    assert len(MODULES) == 2
    assert len(SWITCHES) == len(ARCHITECTURES) == 4
    for key, switch in SWITCHES.items():
        assert {declared(module)[key] for module in MODULES} == set(switch.options)
    for module in MODULES:
        stored = record(module)
        assert stored["sha256"] == hashlib.sha256(module.read_bytes()).hexdigest()
        assert module.name == build.file_name(stored["options"], (), Dialect.of(stored.get("dialect", ())))


def test_an_option_brings_its_architecture() -> None:
    """GG-13: an option shows in its architecture alone, so a module with the option has it; others have none."""
    for name, rule in load_dialects()["architecture"].items():
        (option,) = (cfg for cfg in build.load_options()[rule].values() if cfg is not None)
        assert build.with_architectures([option, "sc3_no"], Dialect()).texts == [f"architecture={name}"]
        assert build.declared_choices([option]).keys() == {rule.replace(" ", ".")} <= SWITCHES.keys()
    assert Dialect().switches == []
    assert build.with_architectures(["sc3_no"], Dialect()) == Dialect()


@pytest.mark.parametrize("module", [GUEST, *MODULES], ids=["plain", "first", "second"])
def test_what_a_module_has(module: Path) -> None:
    """ID-1, GG-13: the plain guest refuses the four plain files with 6, the others take them, and YaRN with gpt-oss."""
    names = [f"gguf/architecture/{name}" for name in ARCHITECTURES.values()] + ["gguf/rotary/yarn"]
    found = find_features(wasm_build(module), Profile(), names)
    assert found.absent == (dict.fromkeys(names, Status.InvalidHeader) if module == GUEST else {})


@cache
def predictions() -> Predictions:
    """Share what the oracle answers to the experiments; every switch of other rules is as the profile says."""
    return Predictions(Profile(), CompiledSeq32(1), frozenset(switch.attribute for switch in SWITCHES.values()))


@pytest.mark.parametrize("module", MODULES, ids=["first", "second"])
def test_each_option_is_settled_by_its_experiment(module: Path) -> None:
    """ID-3, GG-12, GG-15: what the module answers leaves one option of each switch, the true one; before, both."""
    settlement = Settlement(predictions(), Translation(Names(DIAGNOSTIC_NAMES)), frozenset(DIAGNOSTIC_NAMES))
    for case in gguf_experiments():
        if case.rules[0] in RULES:
            settlement.take(Experiment(case, observe(case, wasm_build(module)(), Profile())))
    assert not settlement.contradicted
    assert len(settlement.agreed) == len(SWITCHES)
    left = {key: settlement.survivors.options[switch.attribute] for key, switch in SWITCHES.items()}
    assert left == {key: (value,) for key, value in declared(module).items()}


def of_the_guest() -> Iterator[Case]:
    """Yield the cases of the battery that need nothing but the guest's architectures, and YaRN."""
    has = {"gguf", "gguf/rotary/yarn", *(f"gguf/architecture/{name}" for name in ARCHITECTURES.values())}
    yield from (case for case in architecture_cases() if has >= set(needs_of(case)))


@pytest.mark.parametrize("module", MODULES, ids=["first", "second"])
def test_the_battery_tells_right_from_wrong_options(module: Path) -> None:
    """GG-12, GG-15: nothing differs under the module's own options, and each other option differs in one case."""
    cases = list(of_the_guest())
    assert len(cases) == len(ARCHITECTURES) + 1
    answers = {case.name: observe(case, wasm_build(module)(), Profile()) for case in cases}

    def differing(choices: dict[str, Any]) -> list[str]:
        profile = Profile.from_choices(choices)
        mine = {case.name: observe(case, Oracle(profile).engine(), profile) for case in cases}
        return [name for name, theirs in answers.items() if compare_observations(mine[name], theirs).first is not None]

    right = declared(module)
    assert differing(right) == []
    assert all(code_of(answer) == 0 for theirs in answers.values() for answer in theirs)
    for key, switch in SWITCHES.items():
        (other,) = (option for option in switch.options if option != right[key])
        assert len(differing({**right, key: other})) == 1, key


@pytest.mark.parametrize("name", [pytest.param(each, marks=[pytest.mark.slow] * ("-" in each)) for each in ZOO])
def test_random_models_have_the_same_bits(name: str) -> None:
    """FW-8, GG-11, GG-14: models that float64 opinions speak of have the same logits in guest and oracle."""
    steps: list[Step] = [Load("model")]
    for prompt in PROMPTS:
        steps += [Configure(0.0, 1, 1.0, 1), Generate(prompt, 1), NEXT_TOKEN]
        steps += [Configure(1.0, 1000, 1.0, len(prompt)), Generate(prompt, 1), NEXT_TOKEN]
    case = Case(f"zoo/{name}", tuple(steps), {"model": make(name, seed=3)})
    for module in MODULES:
        profile = Profile.from_choices(declared(module))
        theirs = observe(case, wasm_build(module)(), profile)
        mine = observe(case, Oracle(profile).engine(), profile)
        assert compare_observations(mine, theirs).first is None
        shown = [diagnostics_of(answer).get("top_tokens", ()) for answer in theirs]
        different = {json.dumps(tokens) for tokens in shown if len(tokens) == 5}
        assert len(different) >= 3  # an answer that is half a character shows none
