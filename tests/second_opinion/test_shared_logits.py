"""Logits and greedy text against llama.cpp and transformers (numbers made by other people's software)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics import F64, Numerics, Seq32
from refruntime.runtime import Runtime

STORIES = ["f32", "q8_0", "q4_0", "q4_k_m"]
ZOO = ["llama", "llama-tied", "llama-rope-freqs", "llama-rope-linear", "llama-rope-yarn", "q256-llama-q4_k_m",
       "q256-llama-q8_0"]  # fmt: skip
FLOAT32_NOISE = 1e-4
"""The data's README: a float32 implementation should be within this of the reference build's logits."""
HF64_NOISE = {"llama-rope-freqs": 1e-6}
"""Factors are a float32 tensor in the file, and float64 in the other software: 3e-07 measured there."""


def logits_of(path: Path, tokens: np.ndarray, numerics: Numerics) -> np.ndarray:
    model = Transformer(validate_model(path.read_bytes(), Profile()), Profile(), numerics)
    return model.forward([int(token) for token in tokens], model.new_cache(), first_logit=0)


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("numerics", [Seq32(), F64()], ids=["seq32", "f64"])
def test_stories_logits(name: str, numerics: Numerics, shared_data: Path) -> None:
    """FW-2, GG-8: every position of the real model stays within the float32 noise floor of llama.cpp."""
    path = shared_data / "real" / f"stories260K-{name}.gguf"
    expected = np.load(shared_data / "real" / f"stories260K-{name}.expected.npz")
    for index in (0, 1):
        found = logits_of(path, expected[f"tokens_{index}"], numerics)
        assert found.shape == expected[f"logits_{index}"].shape
        assert np.abs(found - expected[f"logits_{index}"]).max() < FLOAT32_NOISE


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("numerics", [Seq32(), F64()], ids=["seq32", "f64"])
def test_zoo_logits(name: str, numerics: Numerics, shared_data: Path) -> None:
    """FW-5, FW-6, GG-8: every llama variant, at every position, against llama.cpp and (float64) transformers."""
    expected = np.load(shared_data / "zoo" / f"{name}.expected.npz")
    for index in (0, 1, 2):
        found = logits_of(shared_data / "zoo" / f"{name}.gguf", expected[f"tokens_{index}"], numerics)
        assert np.abs(found - expected[f"logits_{index}"]).max() < FLOAT32_NOISE
        if f"hf64_{index}" in expected and isinstance(numerics, F64):
            assert np.abs(found - expected[f"hf64_{index}"]).max() < HF64_NOISE.get(name, 1e-9)


@pytest.mark.parametrize("name", STORIES)
def test_stories_greedy(name: str, shared_data: Path) -> None:
    """GEN-4, GEN-5, GEN-8, SA-1, GG-5: greedy continuations equal llama.cpp's token by token.

    Where one differed, the margin printed there would have to be inside the float32 noise to be a near tie.
    """
    runtime = Runtime(Profile(invalid_output_utf8="lossy"))
    runtime.load_model((shared_data / "real" / f"stories260K-{name}.gguf").read_bytes())
    cases = json.loads((shared_data / "real" / f"stories260K-{name}.greedy.json").read_text())["greedy"]
    assert len(cases) == 6
    for case in cases:
        runtime.expect(case["ids"])
        runtime.generate(case["prompt"].encode(), len(case["ids"]))
        assert runtime.context.prompt_ids == case["prompt_ids"]
        found = runtime.context.generated_ids
        if found != case["ids"]:
            step = next(i for i, (a, b) in enumerate(zip(found, case["ids"], strict=False)) if a != b)
            assert case["margins"][step] < FLOAT32_NOISE, f"{case['prompt']!r} differs at step {step}"
        else:
            assert runtime.result == bytes.fromhex(case["bytes"]).decode("utf-8", "replace").encode()


@pytest.mark.parametrize("name", ZOO)
def test_zoo_greedy(name: str, shared_data: Path) -> None:
    """GEN-5, SA-1: 64 greedy tokens after given prompt ids equal llama.cpp's."""
    expected = np.load(shared_data / "zoo" / f"{name}.expected.npz")
    model = Transformer(
        validate_model((shared_data / "zoo" / f"{name}.gguf").read_bytes(), Profile()), Profile(), Seq32()
    )
    for index in (0, 1):
        prompt = [int(token) for token in expected[f"greedy_prompt_{index}"]]
        wanted = [int(token) for token in expected[f"greedy_ids_{index}"]]
        logits = model.forward([*prompt, *wanted], model.new_cache(), first_logit=len(prompt) - 1)
        assert logits[: len(wanted)].argmax(axis=1).tolist() == wanted
