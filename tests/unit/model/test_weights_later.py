"""Weights of a mapped file: bound when they are first used, once, with the bits of weights that were bound at load."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from refruntime import open_model
from refruntime.errors import GenerationFailed, InvalidHeader
from refruntime.memory_limit import VARIABLE
from refruntime.model.gguf.model import GgufWeight
from refruntime.numerics import F64, CompiledSeq32, Fast, Numerics
from refruntime.resources import model_path
from tests.second_opinion.random_rms_models import qwen3

STORIES = model_path(Path("stories.f32.gguf"))
IDS = [1, 103, 107]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each tensor was decoded."""
    counts: Counter[str] = Counter()
    rows = GgufWeight.rows

    def counted(self: GgufWeight, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        counts[f"{self.name}[{start}]" if len(self.shape) == 3 else self.name] += 1
        return rows(self, start, stop)

    monkeypatch.setattr(GgufWeight, "rows", counted)
    return counts


@pytest.mark.parametrize("numerics", [CompiledSeq32(1), F64(), Fast()], ids=lambda each: str(each.name))
def test_tensors_of_a_file_are_bound_when_a_pass_uses_them(numerics: Numerics, decoded: Counter[str]) -> None:
    """ST-3, GG-8: a file that is opened, described and asked for tokens decodes nothing; a pass each tensor once."""
    model = open_model(STORIES, numerics=numerics)
    assert model.detokenize(model.tokenize("Once"))
    model.inspect()
    assert "layers" in repr(model)
    model.transformer.new_cache()
    assert not decoded
    logits = model.logits(IDS)
    assert len(decoded) == len(model.inspect().tensors)
    assert set(decoded.values()) == {1}
    model.logits(IDS)
    assert set(decoded.values()) == {1}
    at_load = open_model(STORIES.read_bytes(), numerics=numerics)
    assert set(decoded.values()) == {2}  # bytes may change, so that their weights are bound at load
    assert np.array_equal(logits, at_load.logits(IDS))
    assert set(decoded.values()) == {2}


def test_an_expert_is_bound_when_a_token_comes_to_it(decoded: Counter[str], tmp_path: Path) -> None:
    """GG-11: of the experts of a model those are decoded to which tokens were routed."""
    path = tmp_path / "experts.gguf"
    path.write_bytes(qwen3(3, experts=True).file())
    model = open_model(path, numerics=F64())
    few = model.logits([5])
    experts = [name for name in decoded if "exps" in name]
    every = 3 * 3 * model.hyperparameters.experts.count  # type: ignore[union-attr]
    assert 0 < len(experts) < every
    many = model.logits([5, *range(20, 120)])
    assert len(experts) < sum("exps" in name for name in decoded) <= every
    assert set(decoded.values()) == {1}
    np.testing.assert_allclose(many[0], few[0], rtol=1e-12)


def test_the_limit_is_asked_at_load(monkeypatch: pytest.MonkeyPatch, decoded: Counter[str]) -> None:
    """CL-statuses: a file that takes too much memory is refused when it is opened, before anything is decoded."""
    monkeypatch.setenv(VARIABLE, "1K")
    with pytest.raises(InvalidHeader, match="more memory") as caught:
        open_model(STORIES, numerics=CompiledSeq32(1))
    assert caught.value.limit
    assert not decoded


@pytest.mark.parametrize("lost", ["token_embd.weight", "output_norm.weight", "blk.0.ffn_down.weight"])
def test_no_memory_left_fails_the_generation(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CL-statuses, ST-7: memory that has run out since is a failure with a name, and the model stays good."""
    model, rows = open_model(STORIES, numerics=CompiledSeq32(1)), GgufWeight.rows

    def exhausted(self: GgufWeight, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        if self.name == lost:
            raise MemoryError
        return rows(self, start, stop)

    with monkeypatch.context() as patch:
        patch.setattr(GgufWeight, "rows", exhausted)
        error = model.generate("Once", 2).error
    assert isinstance(error, GenerationFailed)
    assert error.limit
    assert "no more than this machine has left" in str(error)
    assert model.generate("Once", 2).error is None


def test_threads_bind_a_tensor_once(decoded: Counter[str]) -> None:
    """GG-8: passes that begin at the same time share what they bind."""
    model = open_model(STORIES, numerics=CompiledSeq32(1))
    begin = Barrier(4)

    def run(_: int) -> NDArray[Any]:
        begin.wait()
        return model.logits(IDS)

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(run, range(4))
    assert all(np.array_equal(first, other) for other in others)
    assert set(decoded.values()) == {1}
