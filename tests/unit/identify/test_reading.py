"""Models that are bound once for many experiments, and switches that are read where they matter."""

from __future__ import annotations

from typing import Any

import pytest

from refruntime.battery.features import FEATURES
from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.cases.steps import INIT, NEXT_TOKEN, RESET, Case, Configure, Generate, Load, Step
from refruntime.contract.profile import Profile
from refruntime.differential.run import Oracle, observe
from refruntime.identify import reading
from refruntime.identify.prediction import Predictions
from refruntime.identify.reading import SWITCHES, ReadingBinder
from refruntime.numerics import CompiledSeq32

MODELS = [random_model(seed, Shape(hidden=8, heads=2, ffn=8, layers=1), profile=Profile()) for seed in (1, 2, 3)]


def test_models_that_were_not_used_for_longest_are_bound_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """ID-2: a bound on what is held, and the latest two of three are not bound anew."""
    bound: list[bytes] = []
    bind = reading.bind_model

    def counted(data: bytes, *rest: Any) -> Any:
        bound.append(data)
        return bind(data, *rest)

    monkeypatch.setattr(reading, "bind_model", counted)
    monkeypatch.setattr(reading, "MOST_MODELS", 2)
    binder, (first, second, third) = ReadingBinder(), MODELS
    numerics = CompiledSeq32(1)
    for data in (first, second, first, third, first, second):
        binder(data, Profile(), numerics)
    assert bound == [first, second, third, second]


def switches_read(*steps: Step) -> set[str]:
    """Return the switches that the oracle reads in a session with a plain GGUF file."""
    case = Case("test/session", (INIT, *steps), {"model": FEATURES["gguf"].make(Profile())})
    predictions = Predictions(Profile(), CompiledSeq32(1))
    answers = observe(case, Oracle(Profile(), predictions.numerics).engine(), Profile())
    rows = list(predictions.agreeing(case, lambda _, name: SWITCHES[name][:1], lambda index, answer: True, answers))
    assert len(rows) == 1
    return set(rows[0])


def test_a_switch_is_read_where_it_can_matter() -> None:
    """PR-4, SC-3, GG-12, GG-15: none of another architecture, and none that would reseed what was not drawn from."""
    reseeding = {"generator_on_load", "generator_on_reset", "generator_on_generate", "sampling_config_reseeds"}
    greedy = (Load("model"), Configure(0.0, 1, 1.0, 1), Generate(b"ab", 2))
    of_others = {switch.attribute for switch in Profile.switches() if switch.rule in ("GG-12", "GG-15")}
    assert not switches_read(*greedy) & (reseeding | of_others)
    drawn = (Load("model"), Configure(2.0, 40, 1.0, 5), Generate(b"ab", 2), NEXT_TOKEN)
    assert switches_read(*drawn, RESET, *greedy) >= {"generator_on_reset"}
    assert switches_read(*drawn, *greedy) >= {"generator_on_load"}
    assert switches_read(*drawn, Generate(b"ab", 2)) >= {"generator_on_generate"}
