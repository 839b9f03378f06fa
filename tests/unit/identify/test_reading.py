"""Models that are bound once for many experiments: remembered, and forgotten again."""

from __future__ import annotations

from typing import Any

import pytest

from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.contract.profile import Profile
from refruntime.identify import reading
from refruntime.identify.reading import ReadingBinder
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
