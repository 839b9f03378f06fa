"""qwen35moe: qwen35 with experts in every layer, beside one that every position takes by a gate of its own.

The gate is the sigmoid of one score of the position.

Source: llama.cpp `src/models/qwen35moe.cpp`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from refruntime.model.architectures.qwen35 import QWEN35

QWEN35MOE: Final = replace(
    QWEN35,
    name="qwen35moe",
    feed_forward="experts",
    experts_renormalised=True,
    experts_fused="possible",
    shared_expert="gated",
    keys=QWEN35.keys
    | {"expert_count", "expert_used_count", "expert_feed_forward_length", "expert_shared_feed_forward_length"},
)
