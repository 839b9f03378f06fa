"""qwen35moe and the encoders against transformers in float64 and llama.cpp, on random models that are made anew."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from refruntime import open_model
from refruntime.contract.profile import Profile
from refruntime.embeddings import EncoderModel, open_encoder
from refruntime.trace import Event, TensorEvent
from tests.second_opinion.random_encoders import ENCODERS, TEXTS
from tests.second_opinion.random_recurrent_models import with_published_epsilon
from tests.second_opinion.random_zoo import recipe

VECTORS = Path(__file__).parent / "vectors" / "architectures"
ERF = Profile(gguf_gptneox_gelu="erf")


@cache
def expected_of(name: str) -> dict[str, np.ndarray]:
    with np.load(VECTORS / f"{name}.npz") as file:
        return dict(file)


@cache
def qwen35moe() -> bytes:
    return with_published_epsilon(recipe("qwen35moe", 1)).file()


def encoder_of(name: str, numerics: str, profile: Profile | None = None) -> EncoderModel:
    return open_encoder(ENCODERS[name](1).file(), profile, numerics)


class Stream:
    """Collect what transformers call hidden states."""

    def __init__(self, last: str = "") -> None:
        self.last, self.found = last, dict[str, np.ndarray]()

    def event(self, event: Event) -> None:
        wanted = event.name in ("token_embd", "token_embd_norm", self.last) or event.name.endswith(".residual")
        if isinstance(event, TensorEvent) and wanted:
            self.found[event.name] = event.values()


@pytest.mark.parametrize(("numerics", "noise"), [("f64", 1e-9), ("seq32", 1e-4), ("fast", 1e-4)])
def test_qwen35moe_equals_transformers(numerics: str, noise: float) -> None:
    """GG-15: logits of every position, and the residual stream behind every layer."""
    expected, stream = expected_of("qwen35moe"), Stream("output_norm")
    model = open_model(qwen35moe(), numerics=numerics)
    logits = model.logits(expected["tokens"].tolist(), tracer=stream)
    assert np.abs(logits - expected["hf64"]).max() < noise
    layers = model.hyperparameters.layer_count
    rows = ["token_embd", *(f"blk.{layer}.residual" for layer in range(layers - 1)), "output_norm"]
    assert np.abs(np.stack([stream.found[row] for row in rows]) - expected["hf64_hidden"]).max() < noise


@pytest.mark.parametrize(("numerics", "noise"), [("f64", 1e-4), ("seq32", 1e-4), ("ggml32", 0)])
def test_qwen35moe_equals_llama_cpp(numerics: str, noise: float) -> None:
    """GG-15: logits of every position, and 64 greedy tokens; the scalar kernels bit for bit."""
    expected = expected_of("qwen35moe")
    model = open_model(qwen35moe(), numerics=numerics)
    logits = model.logits(expected["tokens"].tolist())
    assert np.abs(logits - expected["llama_cpp"]).max() <= noise
    path = expected["greedy"].tolist()
    assert model.logits(path[:-1])[5:].argmax(axis=1).tolist() == path[6:]


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize(("numerics", "noise"), [("f64", 1e-9), ("seq32", 2e-5)])
def test_encoders_equal_transformers(name: str, numerics: str, noise: float) -> None:
    """GG-15, GG-12: the row of every token behind the embedding and every layer, in both forms of GELU."""
    expected = expected_of(name)
    for key, profile in (("hf64_hidden", Profile()), ("hf64_hidden_erf", ERF)):
        if key in expected:
            stream = Stream()
            encoder_of(name, numerics, profile).rows(expected["tokens"].tolist(), stream)
            stream.found.pop("token_embd")
            assert np.abs(np.stack(list(stream.found.values())) - expected[key]).max() < noise


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_encoders_equal_llama_cpp(name: str) -> None:
    """GG-15: each row and each pooling; the scalar kernels of llama.cpp bit for bit where rows are not added up."""
    expected = expected_of(name)
    ids, found = expected["tokens"].tolist(), {}
    for numerics in ("ggml32", "seq32"):
        encoder = encoder_of(name, numerics)
        found[numerics] = {"llama_cpp": encoder.rows(ids)}
        for pooling in ("mean", "cls", "last"):
            found[numerics][f"llama_cpp_{pooling}"] = encoder.embed([ids], pooling=pooling)[0].values
    table = 5e-3 if name == "bert" else 2e-5  # llama.cpp rounds GELU through half precision
    for key, own in found["ggml32"].items():
        if key == "llama_cpp_mean":
            assert np.abs(own - expected[key]).max() < 1e-6
        else:
            assert np.array_equal(own, expected[key])
        assert np.abs(found["seq32"][key] - expected[key]).max() < table


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_word_pieces_equal_llama_cpp(name: str, number: int) -> None:
    """GG-5: ids of texts with accents, Han characters, tabs, punctuation and unknown letters."""
    assert encoder_of(name, "seq32").tokenize(TEXTS[number]) == expected_of(name)[f"text_{number}"].tolist()
