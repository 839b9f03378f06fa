"""The forward pass: splits, profiles, and second opinions written separately."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics import F64, CompiledSeq32, Numerics, Seq32, libm
from refruntime.trace import Event, TensorEvent
from tests.second_opinion import scalar_float32
from tests.support.synthetic import SMALL, random_weights, slm1_file

TOKENS = [256, *b"Once upon a time, a fox."]


def transformer(file: bytes, numerics: Numerics, profile: Profile | None = None) -> Transformer:
    profile = profile or Profile()
    return Transformer(validate_model(file, profile), profile, numerics)


def all_logits(model: Transformer, tokens: list[int]) -> np.ndarray:
    return model.forward(tokens, model.new_cache(), first_logit=0)


def unary(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.float32], np.float32]:
    return lambda x: np.float32(function(np.array([x], np.float32))[0])


@pytest.mark.parametrize("tied", [False, True])
def test_equals_scalar_float32_loops(tied: bool) -> None:
    """FW-1, FW-2, FW-3, FW-5, FW-6, FW-7, FW-9, GEN-4: bit for bit what plain scalar loops give."""
    weights = random_weights(3, tied=tied, **SMALL)
    logits = all_logits(transformer(slm1_file(weights, tied=tied, **SMALL), CompiledSeq32()), TOKENS[:9])
    expected = scalar_float32.forward(
        weights,
        TOKENS[:9],
        layers=SMALL["layer_count"],
        heads=SMALL["head_count"],
        theta=10000.0,
        eps=1e-5,
        exp=unary(libm.expf),
        sin=unary(libm.sinf),
        cos=unary(libm.cosf),
        power=lambda x, y: np.float32(libm.powf(np.array([x], np.float32), np.array([y], np.float32))[0]),
    )
    assert np.array_equal(logits.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("numerics", [CompiledSeq32(1), CompiledSeq32(2), F64()], ids=["seq32-1", "seq32-2", "f64"])
def test_any_split_of_positions(numerics: Numerics) -> None:
    """GEN-4, FW-9: one pass equals single steps equals any split; bit for bit in seq32, to rounding in f64."""
    model = transformer(slm1_file(random_weights(4, **SMALL), **SMALL), numerics)
    tokens = (TOKENS * 3)[:60]
    whole = all_logits(model, tokens)
    whole_cache = model.new_cache()
    model.forward(tokens, whole_cache)
    for sizes in ([1] * 60, [59, 1], [1, 59], [7, 13, 1, 29, 10], [30, 30]):
        cache, parts, begin = model.new_cache(), [], 0
        for size in sizes:
            parts.append(model.forward(tokens[begin : begin + size], cache, first_logit=0))
            begin += size
        if isinstance(numerics, Seq32):
            assert np.array_equal(np.concatenate(parts).view(np.uint32), whole.view(np.uint32)), sizes
            assert np.array_equal(cache.keys, whole_cache.keys)
            assert np.array_equal(cache.values, whole_cache.values)
        else:
            np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-12)
        assert cache.length == whole_cache.length == 60


def test_split_with_non_finite_values() -> None:
    """GEN-4, GEN-11: a position that turns infinite leaves the bits of the positions before it alone."""
    weights = random_weights(6, **SMALL)
    weights["tok_embeddings.weight"][ord("x")] = np.nan
    weights["layers.1.wv.weight"][:] = np.float32(3e38)  # values overflow to infinities, the keys stay finite
    model = transformer(slm1_file(weights, **SMALL), CompiledSeq32())
    for tokens in ([256, *b"abcxdef"], [256, *b"abcdef"]):
        whole, cache = all_logits(model, tokens), model.new_cache()
        single = np.concatenate([model.forward([token], cache, first_logit=0) for token in tokens])
        assert not np.isfinite(whole).all()
        nan = np.isnan(whole)
        assert np.array_equal(nan, np.isnan(single))
        assert np.array_equal(whole[~nan].view(np.uint32), single[~nan].view(np.uint32))


def test_not_a_number_does_not_travel_back() -> None:
    """FW-6: a position that turns NaN changes nothing at the positions before it."""
    weights = random_weights(6, **SMALL)
    clean = all_logits(transformer(slm1_file(weights, **SMALL), CompiledSeq32()), [256, *b"abcxdef"])
    weights["tok_embeddings.weight"][ord("x")] = np.nan
    faulty = all_logits(transformer(slm1_file(weights, **SMALL), CompiledSeq32()), [256, *b"abcxdef"])
    assert np.array_equal(faulty[:4].view(np.uint32), clean[:4].view(np.uint32))
    assert np.isnan(faulty[4:]).all()


def test_last_logits_only() -> None:
    """GEN-4: asking for the last position alone gives the same bits as asking for all."""
    model = transformer(slm1_file(random_weights(4, **SMALL), **SMALL), CompiledSeq32())
    assert np.array_equal(model.forward(TOKENS, model.new_cache())[0], all_logits(model, TOKENS)[-1])


@pytest.mark.parametrize("dtype", list(DType))
def test_f64_bounds_seq32(dtype: DType) -> None:
    """FW-4, SL-2: seq32 stays within float32 rounding of the float64 truth for every stored type."""
    file = slm1_file(random_weights(8, **SMALL), dtype=dtype, **SMALL)
    single, double = (all_logits(transformer(file, numerics), TOKENS) for numerics in (CompiledSeq32(), F64()))
    difference = np.abs(single - double).max()
    assert 0 < difference < 1e-4


def test_every_arrow_is_traced() -> None:
    """GEN-4, FW-2: events come in computing order with the shapes of the pass, and carry the values."""
    events: list[Event] = []

    class Collector:
        def event(self, event: Event) -> None:
            events.append(event)

    model = transformer(slm1_file(random_weights(4, **SMALL), **SMALL), CompiledSeq32())
    logits = model.forward(TOKENS, model.new_cache(), tracer=Collector())
    tensors = [event for event in events if isinstance(event, TensorEvent)]
    names = [event.name for event in tensors]
    assert names[0] == "token_embd"
    assert names[-2:] == ["output_norm", "logits"]
    per_layer = [name.removeprefix("blk.1.") for name in names if name.startswith("blk.1.")]
    assert per_layer == ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_q.rope", "attn_k.rope", "attn.scores",
                         "attn.weights", "attn.mixed", "attn_output", "attn_residual", "ffn_norm", "ffn_gate", "ffn_up",
                         "ffn_hidden", "ffn_down", "residual"]  # fmt: skip
    assert np.array_equal(tensors[-1].values(), logits)
    weights = next(event for event in tensors if event.name == "blk.0.attn.weights").values()  # [A, n, T]
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    assert all(not weights[:, row, row + 1 :].any() for row in range(len(TOKENS)))


def test_cache_grows_with_use() -> None:
    """FW-9, CL-statuses: a claimed context costs memory only when it is used, and growth keeps every bit."""
    shape = SMALL | {"max_context": 700}
    model = transformer(slm1_file(random_weights(4, **shape), **shape), CompiledSeq32())
    cache, tokens = model.new_cache(), ([*range(256)] * 3)[:700]
    assert cache.values.shape[1] == 256
    grown = np.concatenate([model.forward(tokens[begin : begin + 100], cache) for begin in range(0, 700, 100)])
    assert (cache.length, cache.values.shape[1]) == (700, 700)
    whole = all_logits(model, tokens)
    assert np.array_equal(grown.view(np.uint32), whole[99::100].view(np.uint32))


def test_claimed_context_costs_no_memory() -> None:
    """CL-statuses, FW-9: a small file that claims a cache of almost 2 GiB loads within a small address space."""
    shape = SMALL | {"max_context": 8_000_000}
    file = slm1_file(random_weights(4, **shape), **shape)
    tracemalloc.start()
    transformer(file, CompiledSeq32()).new_cache()
    assert tracemalloc.get_traced_memory()[1] < 20 * len(file)
    tracemalloc.stop()


@pytest.mark.parametrize("first_logit", [0, 3, -1])
def test_events_know_their_position(first_logit: int) -> None:
    """GEN-4: an event names the position of its first row, also where logits are left out."""
    events: list[TensorEvent] = []

    class Collector:
        def event(self, event: Event) -> None:
            assert isinstance(event, TensorEvent)
            events.append(event)

    model = transformer(slm1_file(random_weights(4, **SMALL), **SMALL), CompiledSeq32())
    cache = model.new_cache()
    model.forward(TOKENS[:7], cache)
    model.forward(TOKENS[7:12], cache, first_logit=first_logit, tracer=Collector())
    for event in events:
        skipped = first_logit % 5 if event.name in ("output_norm", "logits") else 0
        assert event.position == 7 + skipped, event.name
        rows = event.shape[1] if event.name.endswith(("scores", "weights")) else event.shape[0]
        assert rows == 5 - skipped, event.name
