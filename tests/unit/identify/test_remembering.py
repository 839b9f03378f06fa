"""A transformer that remembers answers with the bits of one that does not (GEN-4, FW-9)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from refruntime.battery.models.gguf import LlamaShape, llama_model
from refruntime.battery.models.plain import plain_gguf
from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile
from refruntime.identify.remembering import RememberingTransformer
from refruntime.model.binding import bind_model
from refruntime.model.forward import Transformer
from refruntime.model.kv_cache import KVCache
from refruntime.numerics import Seq32

MODELS = {
    "slm1-f32": random_model(3, Shape(capacity=24), profile=Profile()),
    "slm1-q8": random_model(4, Shape(capacity=24), DType.Q8_0, profile=Profile()),
    "gguf-grouped": llama_model(5, LlamaShape(kv_heads=2)).data,
    "gguf-convolving": plain_gguf("lfm2").data,  # it keeps more than keys and values, so nothing is remembered
}
CONTEXTS = ([5, 9, 7], [5, 9, 8], [5, 9, 7], [1], [5, 9, 7])
"""Prompts in their order: the same again, one that begins alike, and one after which the cache held others."""


def told(transformer: Transformer, cache: KVCache) -> list[NDArray[Any]]:
    """Return the logits of prompts, each continued token by token and with two positions ahead."""
    found = []
    for prompt in CONTEXTS:
        cache.length = 0
        found.append(transformer.forward([*prompt, 10, 11], cache, first_logit=len(prompt) - 1))
        cache.length = len(prompt)
        found += [transformer.forward([token], cache) for token in (20, 21, 22)]
    return found


@pytest.mark.parametrize("name", MODELS)
def test_the_bits_are_those_of_the_plain_transformer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits and cache are equal bit for bit, and a context that comes again is not computed again."""
    plain = bind_model(MODELS[name], Profile(), Seq32()).transformer
    remembering = RememberingTransformer(plain)
    caches = plain.new_cache(), remembering.new_cache()
    expected = told(plain, caches[0])
    calls: list[int] = []
    forward = Transformer.forward

    def counted(self: Transformer, tokens: Any, cache: KVCache, **rest: Any) -> Any:
        calls.append(len(tokens))
        return forward(self, tokens, cache, **rest)

    monkeypatch.setattr(Transformer, "forward", counted)
    for first in (True, False):
        found = told(remembering, caches[1])
        assert [one.tobytes() for one in found] == [one.tobytes() for one in expected]
        end = caches[0].length
        assert end == caches[1].length
        for one, other in zip(caches[0].positions(0, end), caches[1].positions(0, end), strict=True):
            assert one.tobytes() == other.tobytes()
        # three different contexts, each with three tokens after it, or all five of them every time
        assert len(calls) == (5 * 4 if name == "gguf-convolving" else 3 * 4 if first else 0)
        calls.clear()


def test_an_answer_may_be_written_over() -> None:
    """What is given out is nobody else's: a caller that changes it changes no later answer."""
    transformer = RememberingTransformer(bind_model(MODELS["slm1-f32"], Profile(), Seq32()).transformer)
    cache = transformer.new_cache()
    first = transformer.forward([1, 2], cache).copy()
    for _ in range(2):
        cache.length = 0
        again = transformer.forward([1, 2], cache)
        assert np.array_equal(again, first)
        again[:] = 0
        cache.keys[:] = 0
        cache.values[:] = 0
