"""Small models with a chat template."""

from __future__ import annotations

import numpy as np

from refruntime.tokenizers.spelling import to_alphabet
from tests.support.gguf_by_hand import HIDDEN, I32, STRING, U32, array, llama_file, llama_shapes, scalar

CHATML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
SPECIAL = ["<|im_start|>", "<|im_end|>", "<s>"]
START, END, BOS = 256, 257, 258


def model_file(template: str | None, seed: int | None = None, context: int = 96, **keys: bytes) -> bytes:
    """A byte-pair model of all bytes and three control tokens.

    Without a seed its weights are zeros, so that the greedy token is always id 0, which is the byte 0.
    """
    tokens = [to_alphabet(bytes([byte])) for byte in range(256)] + [each.encode() for each in SPECIAL]
    values: dict[str, bytes | None] = {
        "model": scalar(STRING, "gpt2"),
        "pre": scalar(STRING, "qwen2"),
        "tokens": array(STRING, tokens),
        "token_type": array(I32, [1] * 256 + [3] * 3),
        "merges": array(STRING, ["a b"]),
        "scores": None,
        "eos_token_id": scalar(U32, END),
        "bos_token_id": scalar(U32, BOS),
        **keys,
    }
    shapes = {"token_embd.weight": (HIDDEN, len(tokens))}
    size = sum(
        -(-4 * each[0] * (each[1] if len(each) > 1 else 1) // 32) * 32 for each in {**llama_shapes(), **shapes}.values()
    )
    named = {f"tokenizer.ggml.{name}": value for name, value in values.items()}
    named["tokenizer.chat_template"] = None if template is None else scalar(STRING, template)
    named["llama.context_length"] = scalar(U32, context)
    whole = llama_file(named, dict(shapes))
    if seed is None:
        return whole[:-size] + bytes(size)
    return whole[:-size] + np.random.default_rng(seed).normal(0.0, 0.7, size // 4).astype("<f4").tobytes()
