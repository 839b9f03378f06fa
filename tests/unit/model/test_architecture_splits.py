"""Every architecture gives the same bits however its positions are computed: together, singly, after going back."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.model import kv_cache
from refruntime.model.architectures import ARCHITECTURES
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.model.lookahead import Lookahead
from refruntime.numerics import CompiledSeq32
from tests.second_opinion.random_zoo import NAMES, make

TOKENS = [1, *np.random.default_rng(7).integers(3, 260, 33).tolist()]
OTHERS = [1, *np.random.default_rng(8).integers(3, 260, 33).tolist()]


@cache
def transformer(name: str, kernels: str = "numpy") -> Transformer:
    return Transformer(validate_model(make(name, 1), Profile()), Profile(), CompiledSeq32(1, kernels))


@cache
def whole(name: str) -> np.ndarray:
    model = transformer(name)
    return model.forward(TOKENS, model.new_cache(), first_logit=0)


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.isfinite(expected).all()
    assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "sizes",
    [
        [5, 13, 1, 1, 14],
        *(pytest.param(sizes, marks=pytest.mark.slow) for sizes in ([*[1] * 12, 22], [33, 1], [1, 33])),
    ],
    ids=str,
)
def test_any_split_of_positions(name: str, sizes: list[int]) -> None:
    """GEN-4, GG-11: one pass equals single steps equals any split, bit for bit."""
    model = transformer(name)
    cache, parts = model.new_cache(), []
    for size in sizes:
        parts.append(model.forward(TOKENS[cache.length :][:size], cache, first_logit=0))
    assert_same_bits(np.concatenate(parts), whole(name))


@pytest.mark.parametrize("name", NAMES)
def test_going_back_and_branching(name: str) -> None:
    """ST-5, FW-9, GG-11: after a reset, a step back to any length, or in a copy nothing of the old way is left."""
    model = transformer(name)
    cache = model.new_cache()
    model.forward(OTHERS, cache)
    cache.length = 0
    assert_same_bits(model.forward(TOKENS, cache, first_logit=0), whole(name))
    for length in (2, 9, 30):
        cache.length = length
        branch = copy.deepcopy(cache)
        model.forward(OTHERS[length:], cache)
        for back in (branch, cache):
            back.length = length
            assert_same_bits(model.forward(TOKENS[length:], back, first_logit=0), whole(name)[length:])


@pytest.mark.parametrize("name", ["gemma4", "granitehybrid", "lfm2", "llama", "qwen35"])
def test_a_cache_that_grows_keeps_what_it_has(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FW-9, GG-11: keys, values, rows of convolutions and states outlive every doubling of the room for them."""
    monkeypatch.setattr(kv_cache, "FIRST_POSITIONS", 2)
    model = transformer(name)
    cache = model.new_cache()
    assert cache.values.shape[1] == 2
    found = [model.forward([token], cache, first_logit=0) for token in TOKENS]
    assert_same_bits(np.concatenate(found), whole(name))


@pytest.mark.parametrize(
    "name", ["gemma3", "gemma4", "gpt-oss", "gpt2", "granitehybrid", "lfm2", "mistral3", "qwen35", "qwen3moe"]
)
def test_guesses_change_nothing(name: str) -> None:
    """GEN-4, GG-11: tokens computed ahead, rightly or wrongly guessed, give the logits of computing one by one."""
    model = transformer(name)
    cache = model.new_cache()
    ahead = Lookahead(model, cache)
    for position, token in enumerate(TOKENS):
        guess = OTHERS if position % 3 else TOKENS[position + 1 :]
        ahead.expect(guess)
        assert_same_bits(ahead.forward([token]), whole(name)[position])
        assert cache.length == position + 1


@pytest.mark.parametrize("name", NAMES)
def test_compiled_loops_give_the_same_bits(name: str) -> None:
    """FW-4, FW-6, GG-11: with numba every architecture gives the bits of the NumPy definition."""
    pytest.importorskip("numba", reason="numba is not installed: pip install 'refruntime[speed]'")
    model = transformer(name, "numba")
    assert_same_bits(model.forward(TOKENS, model.new_cache(), first_logit=0), whole(name))


def test_every_architecture_takes_part() -> None:
    """GG-11: the random models hold every architecture."""
    assert {transformer(name).architecture.name for name in NAMES} == set(ARCHITECTURES)
