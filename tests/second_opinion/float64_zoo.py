"""The float64 forward pass of every architecture, by its name in `general.architecture`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.second_opinion.float64_blocks import Opinion, Weights
from tests.second_opinion.float64_dense_models import cohere2, exaone4, hunyuan_dense, minicpm, mistral3
from tests.second_opinion.float64_expert_models import gpt_oss, lfm2moe
from tests.second_opinion.float64_gemma import gemma, gemma2, gemma3
from tests.second_opinion.float64_gemma4 import gemma4
from tests.second_opinion.float64_layer_norm_models import (
    command_r,
    gpt2,
    gptneox,
    nemotron,
    phi2,
    stablelm,
    starcoder2,
)
from tests.second_opinion.float64_lfm2 import lfm2
from tests.second_opinion.float64_recurrent_models import granitehybrid, qwen35
from tests.second_opinion.float64_rms_models import (
    granite,
    llama,
    olmo,
    olmo2,
    olmoe,
    phi3,
    qwen2,
    qwen3,
    qwen3moe,
    smollm3,
)

FORWARD: dict[str, Callable[[Weights, Sequence[int]], Opinion]] = {
    "cohere2": cohere2,
    "command-r": command_r,
    "ernie4_5": llama,
    "exaone4": exaone4,
    "gemma": gemma,
    "gemma2": gemma2,
    "gemma3": gemma3,
    "gemma4": gemma4,
    "gpt-oss": gpt_oss,
    "gpt2": gpt2,
    "gptneox": gptneox,
    "granite": granite,
    "granitehybrid": granitehybrid,
    "hunyuan-dense": hunyuan_dense,
    "lfm2": lfm2,
    "lfm2moe": lfm2moe,
    "llama": llama,
    "minicpm": minicpm,
    "mistral3": mistral3,
    "nemotron": nemotron,
    "olmo": olmo,
    "olmo2": olmo2,
    "olmoe": olmoe,
    "phi2": phi2,
    "phi3": phi3,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "qwen35": qwen35,
    "qwen35moe": qwen35,
    "qwen3moe": qwen3moe,
    "smollm3": smollm3,
    "stablelm": stablelm,
    "starcoder2": starcoder2,
}
"""llama.cpp's reading where it differs from transformers' (phi3 without window, gptneox with the tanh form of GELU)."""


def forward(model: Weights, tokens: Sequence[int]) -> Opinion:
    """Return logits and residual stream of token ids [T] by the function of the model's architecture."""
    return FORWARD[model.architecture](model, tokens)
