"""Tiny random GGUF models of every architecture, with every feature that tells it from the others at work.

Keys and tensor names are those that llama.cpp's converter writes. In a sequence of 40 positions windows are shorter
than the sequence, soft caps and clips bite; multipliers are not 1; a head size need not be hidden size / heads.

    path.write_bytes(make("gemma2", seed=1))
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache, partial

from tests.second_opinion.random_dense_models import cohere2, ernie4_5, exaone4, hunyuan_dense, minicpm, mistral3
from tests.second_opinion.random_expert_models import gpt_oss, lfm2moe
from tests.second_opinion.random_gemma4 import gemma4
from tests.second_opinion.random_gemma_lfm2 import gemma, gemma2, gemma3, lfm2
from tests.second_opinion.random_layer_norm_models import command_r, gpt2, gptneox, nemotron, phi2, stablelm, starcoder2
from tests.second_opinion.random_model import Recipe
from tests.second_opinion.random_recurrent_models import granitehybrid, qwen35
from tests.second_opinion.random_rms_models import granite, llama, olmo, olmo2, olmoe, phi3, qwen2, qwen3, smollm3

RECIPES: dict[str, Callable[[int], Recipe]] = {
    "cohere2": cohere2,
    "command-r": command_r,
    "ernie4_5": ernie4_5,
    "ernie4_5-biased": partial(ernie4_5, bias=True),
    "exaone4": exaone4,
    "exaone4-window": partial(exaone4, layers=64),
    "gemma": gemma,
    "gemma2": gemma2,
    "gemma3": gemma3,
    "gemma3-capped": partial(gemma3, capped=True),
    "gemma3-linear": partial(gemma3, scaled=True),
    "gemma4": gemma4,
    "gemma4-experts": partial(gemma4, experts=True),
    "gpt-oss": gpt_oss,
    "gpt-oss-yarn": partial(gpt_oss, yarn=True),
    "gpt2": gpt2,
    "gpt2-untied": partial(gpt2, tied=False),
    "gptneox": gptneox,
    "gptneox-sequential": partial(gptneox, parallel=False),
    "granite": granite,
    "granite-tied": partial(granite, tied=True),
    "granitehybrid": granitehybrid,
    "granitehybrid-dense": partial(granitehybrid, experts=False),
    "hunyuan-dense": hunyuan_dense,
    "lfm2": lfm2,
    "lfm2moe": lfm2moe,
    "lfm2moe-softmax": partial(lfm2moe, gating=1),
    "llama": llama,
    "llama-biased": partial(llama, bias=True),
    "llama-factors": partial(llama, scaling="factors"),
    "llama-linear": partial(llama, scaling="linear"),
    "llama-tied": partial(llama, tied=True),
    "llama-yarn": partial(llama, scaling="yarn"),
    "minicpm": minicpm,
    "minicpm-old": partial(minicpm, factors=False),
    "mistral3": mistral3,
    "mistral3-plain": partial(mistral3, stretched=False),
    "nemotron": nemotron,
    "nemotron-biased": partial(nemotron, bias=True),
    "olmo": partial(olmo, clip=None),
    "olmo-clipped": olmo,
    "olmo2": olmo2,
    "olmo2-window": partial(olmo2, window=7),
    "olmoe": olmoe,
    "phi2": phi2,
    "phi3": phi3,
    "phi3-long": partial(phi3, trained_context=100, factors=True),
    "phi3-partial": partial(phi3, trained_context=100, factors=True, rotated=4),
    "phi3-short": partial(phi3, factors=True),
    "phi3-window": partial(phi3, window=7),
    "qwen2": qwen2,
    "qwen2-tied": partial(qwen2, tied=True),
    "qwen2-yarn": partial(qwen2, yarn=True),
    "qwen3": qwen3,
    "qwen3-tied": partial(qwen3, tied=True),
    "qwen35": qwen35,
    "qwen35-listed": partial(qwen35, listed=True),
    "qwen35moe": partial(qwen35, experts=True),
    "qwen3moe": partial(qwen3, experts=True),
    "smollm3": smollm3,
    "stablelm": stablelm,
    "stablelm-head-norms": partial(stablelm, parallel=True, head_norms=True),
    "stablelm-parallel": partial(stablelm, parallel=True),
    "starcoder2": starcoder2,
    "starcoder2-untied": partial(starcoder2, tied=False),
}
UNSUPPORTED = {"stablelm-head-norms": "blk.0.attn_q_norm.weight"}
"""What the package refuses, by the field that it names: only the 12B model of stablelm norms its heads."""
DEEP = {"exaone4-window"}
"""Models of so many layers that they have one comparison of their own."""
NAMES = [name for name in RECIPES if name not in {*UNSUPPORTED, *DEEP}]


@lru_cache(maxsize=256)
def make(name: str, seed: int) -> bytes:
    """Return the file of the random model `name` (one of NAMES); equal seeds give equal bytes."""
    return recipe(name, seed).file()


def recipe(name: str, seed: int) -> Recipe:
    """Return the metadata and tensors that `make` writes, to be changed by a test."""
    return RECIPES[name](zlib.crc32(f"{name} {seed}".encode()))
