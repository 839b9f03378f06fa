"""Files with the metadata that published files of well-known models have: they load, and compute what they should.

The keys are those that llama.cpp's converter writes for these models, and those that its quantizer and importance
matrix add; only the sizes are those of tiny random models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refruntime.containers.gguf import read_gguf
from refruntime.contract.profile import Profile
from refruntime.model.forward import Transformer
from refruntime.model.gguf.model import validate_gguf
from refruntime.numerics import F64
from tests.second_opinion.float64_blocks import read_weights
from tests.second_opinion.float64_zoo import forward
from tests.second_opinion.random_model import CONTEXT, HEAD_DIM, KV_HEADS
from tests.second_opinion.random_zoo import recipe
from tests.second_opinion.test_random_zoo import NOISE
from tests.support.command_line import command

PROMPT = [1, 259, 264, 285, 259, 270, 286, 263]
TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message.content }}{% endfor %}"

AROUND: dict[str, Any] = {
    "general.basename": "Tiny",
    "general.size_label": "1B",
    "general.finetune": "Instruct",
    "general.license": "apache-2.0",
    "general.license.link": "https://example.org/license",
    "general.tags": ["chat", "text-generation"],
    "general.languages": ["en", "de"],
    "general.base_model.count": 1,
    "general.base_model.0.name": "Tiny Base",
    "general.quantized_by": "somebody",
    "general.sampling.top_k": 64,
    "general.sampling.temp": 0.6,
    "quantize.imatrix.file": "tiny.imatrix",
    "quantize.imatrix.dataset": "calibration.txt",
    "quantize.imatrix.entries_count": 112,
    "quantize.imatrix.chunks_count": 127,
    "tokenizer.chat_template": TEMPLATE,
    "tokenizer.chat_templates": ["tool_use"],
    "tokenizer.chat_template.tool_use": "{{ tools }}",
    "tokenizer.ggml.add_space_prefix": True,
    "tokenizer.ggml.add_sep_token": False,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.ggml.seperator_token_id": 2,
    "tokenizer.ggml.eot_token_id": 2,
    "tokenizer.ggml.fim_pre_token_id": 3,
    "tokenizer.ggml.token_type_count": 1,
    "tokenizer.huggingface.json": "{}",
    "split.no": 0,
    "split.count": np.uint16(0),
    "split.tensors.count": 0,
}
"""Keys around the model: none of them says anything about the arithmetic."""

STATE_SPACE = {
    "ssm.conv_kernel": 4,
    "ssm.state_size": 256,
    "ssm.group_count": 1,
    "ssm.inner_size": 96,
    "ssm.time_step_rank": 48,
}

PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "SmolLM2": ("llama-tied", {}),
    "Llama 3.2": ("llama-factors", {}),
    "Qwen2.5": ("qwen2", {}),
    "Qwen3": ("qwen3", {}),
    "Gemma 2": ("gemma2", {}),
    "Gemma 3": ("gemma3", {}),
    "Phi 3": ("phi3-long", {"rope.scaling.type": "longrope"}),
    "Phi 4 mini": ("phi3", {"attention.sliding_window": 262144}),
    "SmolLM3": ("smollm3", {"attention.key_length": HEAD_DIM, "attention.value_length": HEAD_DIM}),
    "Granite 3": ("granite", {}),
    "Granite 4": (
        "granite",
        {
            "attention.head_count_kv": [KV_HEADS] * 3,
            "expert_count": 0,
            "expert_used_count": 0,
            "expert_shared_feed_forward_length": 72,
            "rope.scaling.finetuned": True,
        }
        | STATE_SPACE,
    ),
    "OLMo 2": ("olmo2", {}),
    "OLMo 3": ("olmo2-window", {}),
    "StableLM 2": ("stablelm", {"use_parallel_residual": True}),
    "Zephyr": ("stablelm", {"use_parallel_residual": True}),
}
"""Model -> the random model that is made like it, and the keys that its files have beyond those of the recipe."""


@pytest.fixture(params=PUBLISHED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def file(name: str, tmp_path: Path) -> Path:
    made, keys = recipe(PUBLISHED[name][0], 1), PUBLISHED[name][1]
    made.metadata |= AROUND | {f"{made.architecture}.{key}": value for key, value in keys.items()}
    path = tmp_path / "published.gguf"
    path.write_bytes(made.file())
    return path


def answer(*arguments: object) -> Any:
    outcome = command(*arguments, "--json")
    assert outcome.code == 0, outcome.stderr
    return outcome.json


def test_a_published_file_computes_what_a_second_opinion_says(name: str, file: Path, tmp_path: Path) -> None:
    """GG-4, GG-11: no key that the converter or the quantizer writes is in the way, or changes a logit."""
    model = validate_gguf(read_gguf(file.read_bytes()), Profile())
    transformer = Transformer(model, Profile(), F64())
    found = transformer.forward(PROMPT, transformer.new_cache(), first_logit=0)
    bare = tmp_path / "bare.gguf"
    bare.write_bytes(recipe(PUBLISHED[name][0], 1).file())
    assert np.abs(found - forward(read_weights(bare), PROMPT).logits).max() < NOISE["f64"]
    assert model.hyperparameters.max_context == CONTEXT


def test_commands_take_published_files(file: Path) -> None:
    """GG-4, GG-5: every command that reads a model reads these; a template that repeats the prompt changes nothing."""
    assert answer("inspect", file)["container"] == "gguf"
    ids = answer("tokenize", file, "a the")["ids"]
    plain, chat = (command("run", file, *prompt, "-n", 3, "--json").json for prompt in (["a the"], ["--chat", "a the"]))
    assert chat["prompt_ids"] == plain["prompt_ids"] == ids
    assert len(chat["generated_ids"]) == 3  # random bytes, which are seldom UTF-8: the status may be that of GEN-9
    assert chat["generated_ids"] == plain["generated_ids"]
    assert not any(answer("compare", file, file, "--text", "a the")["kl"])
    assert answer("trace", file, "a the", "--at", "*.residual")
