"""lfm2moe: lfm2 whose layers, but for the first ones, choose among experts by biased scores.

llama.cpp keeps the sum that shares are divided by from being tiny, transformers adds 1e-6 to it:
GG-15.lfm2moe-share-sum of the profile.

Source: llama.cpp `src/models/lfm2moe.cpp`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from refruntime.model.architectures.lfm2 import LFM2

LFM2MOE: Final = replace(
    LFM2,
    name="lfm2moe",
    feed_forward="experts",
    expert_gating="key",
    expert_choice_biased=True,
    experts_renormalised=True,
    keys=LFM2.keys
    | {
        "expert_count",
        "expert_used_count",
        "expert_feed_forward_length",
        "expert_gating_func",
        "leading_dense_block_count",
    },
)
