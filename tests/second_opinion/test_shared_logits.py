"""Logits and greedy text of a real small model against llama.cpp (numbers made by other people's software)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics import F64, CompiledSeq32, Numerics
from refruntime.runtime import Runtime

STORIES = ["f32", "q8_0", "q4_0", "q4_k_m"]
FLOAT32_NOISE = 1e-4
"""The data's README: a float32 implementation should be within this of the reference build's logits."""


def logits_of(path: Path, tokens: np.ndarray, numerics: Numerics) -> np.ndarray:
    model = Transformer(validate_model(path.read_bytes(), Profile()), Profile(), numerics)
    return model.forward([int(token) for token in tokens], model.new_cache(), first_logit=0)


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("numerics", [CompiledSeq32(), F64()], ids=["seq32", "f64"])
def test_stories_logits(name: str, numerics: Numerics, shared_data: Path) -> None:
    """FW-2, GG-8: every position of the real model stays within the float32 noise floor of llama.cpp."""
    path = shared_data / "real" / f"stories260K-{name}.gguf"
    expected = np.load(shared_data / "real" / f"stories260K-{name}.expected.npz")
    for index in (0, 1):
        found = logits_of(path, expected[f"tokens_{index}"], numerics)
        assert found.shape == expected[f"logits_{index}"].shape
        assert np.abs(found - expected[f"logits_{index}"]).max() < FLOAT32_NOISE


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
        assert list(runtime.machine.prompt_ids) == case["prompt_ids"]
        found = list(runtime.machine.generated_ids)
        if found != case["ids"]:
            step = next(i for i, (a, b) in enumerate(zip(found, case["ids"], strict=False)) if a != b)
            assert case["margins"][step] < FLOAT32_NOISE, f"{case['prompt']!r} differs at step {step}"
        else:
            assert runtime.result == bytes.fromhex(case["bytes"]).decode("utf-8", "replace").encode()
