"""A remembered model answers as one that was bound anew, and is told apart from every other."""

from __future__ import annotations

import pytest

from refruntime import ContractError, Profile
from refruntime.model.binding import BoundModels, bind_model
from refruntime.numerics import F64, CompiledSeq32
from refruntime.runtime import Runtime
from tests.support.synthetic import SMALL, random_weights, slm1_file

ONE = slm1_file(random_weights(1, **SMALL), **SMALL)
OTHER = slm1_file(random_weights(2, **SMALL), **SMALL)


def test_same_bytes_are_bound_once() -> None:
    """ST-3: the key is all that a bound model depends on: bytes, profile, numeric profile."""
    models, numerics, profile = BoundModels(), CompiledSeq32(1), Profile()
    first = models(ONE, profile, numerics)
    assert models(bytearray(ONE), Profile(), numerics) is first
    assert models(OTHER, profile, numerics) is not first
    assert models(ONE, Profile(draw_comparison="<="), numerics) is not first
    assert models(ONE, profile, F64()) is not first


def test_remembered_model_gives_the_same_answers() -> None:
    """MEM-9, ST-3: two runtimes that share a model share nothing else, and answer as one with a model of its own."""
    models, numerics = BoundModels(), CompiledSeq32(1)
    answers = []
    for bind in (bind_model, models, models):
        runtime = Runtime(Profile(invalid_output_utf8="lossy"), numerics, bind=bind)
        runtime.load_model(bytearray(ONE))
        runtime.generate(b"abc", 20)
        answers.append((runtime.result, runtime.diagnostics()))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0]


def test_failures_are_found_every_time() -> None:
    """SL-1: a damaged file fails again, after its whole twin was remembered too."""
    models, numerics = BoundModels(), CompiledSeq32(1)
    models(ONE, Profile(), numerics)
    for _ in range(2):
        with pytest.raises(ContractError, match="InvalidHeader"):
            models(ONE[:-1] + bytes([ONE[-1] ^ 1]), Profile(), numerics)


@pytest.mark.parametrize("bounds", [{"most": 1}, {"most_bytes": len(ONE) + 1}])
def test_the_oldest_model_is_forgotten(bounds: dict[str, int]) -> None:
    """Memory stays bounded by number and by size, and the newest model is always kept."""
    models, numerics = BoundModels(**bounds), CompiledSeq32(1)
    first = models(ONE, Profile(), numerics)
    second = models(OTHER, Profile(), numerics)
    assert models(OTHER, Profile(), numerics) is second
    assert models(ONE, Profile(), numerics) is not first
