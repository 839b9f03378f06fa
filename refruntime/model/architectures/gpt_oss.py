"""gpt-oss: experts with biases and a clamped SwiGLU, attention with sinks, windows on every other layer from the first.

A sink is a score that takes a share of the weights and gives nothing.

Source: llama.cpp `src/models/openai-moe.cpp`; it rounds the range of YaRN outwards to whole dimensions, where the
published models do not: GG-15.gpt-oss-yarn-range of the profile.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import REQUIRED, Architecture

GPT_OSS: Final = Architecture(
    "gpt-oss",
    rope_pairs="halves",
    ffn_norm="post_attention_norm",
    qkv_bias=REQUIRED,
    attention_output_bias=REQUIRED,
    attention_sinks=True,
    window_period=2,
    feed_forward="experts",
    activation="silu clamped",
    expert_gating="softmax of the chosen",
    expert_bias=REQUIRED,
    output=REQUIRED,
    keys=frozenset({"expert_count", "expert_used_count", "expert_feed_forward_length", "rope.freq_base_swa"}),
)
