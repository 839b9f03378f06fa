"""The profile `fast` against the float64 second opinions: other orders of additions, the same formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refruntime import open_model
from refruntime.numerics import RESIDENT, Fast, numerics_named
from refruntime.trace import Event, TensorEvent
from tests.second_opinion.float64_blocks import read_weights
from tests.second_opinion.float64_zoo import forward
from tests.second_opinion.random_zoo import NAMES, make

NOISE = 2e-4
"""What a float32 runtime may differ by on these models: seq32 reaches 8e-5 (rotary angles of long contexts)."""

IDS = [1, *np.random.default_rng(11).integers(3, 60, 39).tolist()]
SINGLE = 16
"""Positions that are computed one by one: more than twice the window of the models that have one."""


class Names:
    """Collect the names and shapes of all tensors."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}

    def event(self, event: Event) -> None:
        if isinstance(event, TensorEvent):
            self.shapes[event.name] = event.shape


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_within_float32_noise(name: str, tmp_path: Path) -> None:
    """At every position, in one pass and token by token, logits lie within float32 noise of the float64 opinion."""
    data = make(name, 3)
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    model = open_model(data, numerics="fast")
    expected = forward(read_weights(path), IDS).logits  # [T, V]
    together = model.logits(IDS)
    cache = model.transformer.new_cache()
    single = np.concatenate([model.transformer.forward([token], cache) for token in IDS[:SINGLE]])
    np.testing.assert_allclose(together, expected, rtol=0, atol=NOISE)
    np.testing.assert_allclose(single, expected[:SINGLE], rtol=0, atol=NOISE)


@pytest.mark.parametrize("name", NAMES)
def test_stored_residence_changes_nothing_but_memory(name: str) -> None:
    """Weights that stay as they are stored give the same values within noise; single rows are the rows of the file."""
    data = make(name, 4)
    resident, stored = open_model(data, numerics="fast"), open_model(data, numerics=Fast("stored"))
    np.testing.assert_allclose(stored.logits(IDS), resident.logits(IDS), rtol=0, atol=NOISE)


@pytest.mark.parametrize("name", NAMES)
def test_compiled_loop_within_float32_noise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled loop for single positions, in both residences, gives what the BLAS gives within noise."""
    pytest.importorskip("numba", reason="the compiled loop needs numba")
    data = make(name, 6)
    expected = open_model(data, numerics="fast").logits(IDS)
    monkeypatch.setattr("refruntime.numerics.compiled.loading.LOADING_PAYS", 0)
    for resident in RESIDENT:
        numerics = Fast(resident)
        transformer = open_model(data, numerics=numerics).transformer
        cache = transformer.new_cache()
        single = np.concatenate([transformer.forward([token], cache) for token in IDS[:SINGLE]])
        assert isinstance(transformer.numerics, Fast)
        assert transformer.numerics.compiled
        np.testing.assert_allclose(single, expected[:SINGLE], rtol=0, atol=NOISE)


@pytest.mark.parametrize("name", ["llama", "gemma2", "lfm2"])
def test_trace_events_are_those_of_seq32(name: str) -> None:
    """The same tensors with the same shapes are emitted, so that tools work in every profile."""
    data, fast, sequential = make(name, 5), Names(), Names()
    open_model(data, numerics="fast").logits(IDS, tracer=fast)
    open_model(data).logits(IDS, tracer=sequential)
    assert fast.shapes == sequential.shapes


def test_unknown_residence_is_refused() -> None:
    """A residence that does not exist is named, with those that do."""
    with pytest.raises(ValueError, match="unknown residence 'disk'; expected one of auto, float32, stored"):
        numerics_named("fast", resident="disk")
