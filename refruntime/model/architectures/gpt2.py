"""gpt2: learned positions, LayerNorm, queries, keys and values from one matrix, GELU without a gate, biases everywhere.

Source: llama.cpp `src/models/gpt2.cpp`.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import REQUIRED, Architecture

GPT2: Final = Architecture(
    "gpt2",
    positions="learned",
    norm="layer",
    norm_bias=True,
    qkv_fused="always",
    qkv_bias=REQUIRED,
    attention_output_bias=REQUIRED,
    feed_forward="plain",
    feed_forward_bias=REQUIRED,
    activation="gelu tanh",
)
