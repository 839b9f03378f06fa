"""The float64 second opinions against llama.cpp and transformers, one tiny model of every architecture."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.second_opinion.float64_blocks import gelu_erf, read_weights
from tests.second_opinion.float64_layer_norm_models import gptneox
from tests.second_opinion.float64_rms_models import phi3
from tests.second_opinion.float64_zoo import FORWARD, forward

LATER = {
    "cohere2": 1e-9,
    "ernie4_5": 1e-9,
    "exaone4": 1e-6,
    "gemma4": 1e-9,
    "gpt-oss": 1e-9,
    "granitehybrid": 1e-7,
    "hunyuan-dense": 1e-6,
    "lfm2moe": 1e-9,
    "minicpm": 1e-9,
    "mistral3": 1e-9,
    "qwen35": 1e-6,
}
"""Architectures of the folder zoo2026, with how near to transformers; `test_shared_zoo2026` tells why not nearer."""
OWN_VECTORS = {"qwen35moe"}
"""Architectures that no shared folder has: `test_architecture_vectors` holds them to vectors of the project."""
ZOO = [
    *(name for name in FORWARD if name not in LATER and name not in OWN_VECTORS),
    "llama-tied",
    "llama-rope-freqs",
    "llama-rope-linear",
    "llama-rope-yarn",
    "phi3-window",
]
QUANTIZED = [f"q256-{name}-{kind}" for name in ("gemma2", "llama", "qwen2") for kind in ("q8_0", "q4_k_m")]

AS_TRANSFORMERS = {"gptneox": partial(gptneox, activation=gelu_erf), "phi3-window": partial(phi3, window=True)}
"""Where transformers and llama.cpp disagree: the erf form of GELU, and the window applied."""
FLOAT32_NOISE = 1e-4
"""The data's README: a float64 implementation should be within this of the reference build's float32 logits."""
FLOAT64_NOISE = {"llama-rope-freqs": 1e-6}
"""Factors are a float32 tensor in the file, and float64 in the other software: 3e-07 measured there; else 1e-9."""


@pytest.mark.parametrize("name", [*ZOO, *QUANTIZED])
def test_logits_equal_llama_cpp(name: str, shared_data: Path) -> None:
    """FW-2, GG-8: the formulas of each architecture give llama.cpp's logits at every position, but for rounding."""
    model = read_weights(shared_data / "zoo" / f"{name}.gguf")
    expected = np.load(shared_data / "zoo" / f"{name}.expected.npz")
    for index in (0, 1, 2):
        found = forward(model, expected[f"tokens_{index}"]).logits
        assert found.shape == expected[f"logits_{index}"].shape
        assert np.abs(found - expected[f"logits_{index}"]).max() < FLOAT32_NOISE


@pytest.mark.parametrize("name", ZOO)
def test_logits_and_residuals_equal_transformers(name: str, shared_data: Path) -> None:
    """FW-2, GG-8: float64 logits and the residual stream after every layer equal those of transformers."""
    model = read_weights(shared_data / "zoo" / f"{name}.gguf")
    expected = np.load(shared_data / "zoo" / f"{name}.expected.npz")
    tolerance = FLOAT64_NOISE.get(name, 1e-9)
    opinions = [AS_TRANSFORMERS.get(name, forward)(model, expected[f"tokens_{index}"]) for index in (0, 1)]
    for index, opinion in enumerate(opinions):
        assert np.abs(opinion.logits - expected[f"hf64_{index}"]).max() < tolerance
    stream = np.stack([*opinions[0].residuals[:-1], opinions[0].final])  # [layers + 1, T, H], the last one normed
    assert stream.shape == expected["hf64_hidden_0"].shape
    assert np.abs(stream - expected["hf64_hidden_0"]).max() < tolerance
