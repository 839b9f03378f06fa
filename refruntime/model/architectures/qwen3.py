"""qwen3 and qwen3moe: each head of queries and keys is normalised before it is rotated; with or without experts.

Source: llama.cpp `src/models/qwen3.cpp`, `src/models/qwen3moe.cpp`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from refruntime.model.architectures.base import Architecture

QWEN3: Final = Architecture("qwen3", rope_pairs="halves", norm_of_queries_and_keys="head")

QWEN3MOE: Final = replace(
    QWEN3,
    name="qwen3moe",
    feed_forward="experts",
    experts_renormalised=True,
    keys=frozenset({"expert_count", "expert_used_count", "expert_feed_forward_length"}),
)
