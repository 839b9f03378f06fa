"""granite: llama with four factors: of the embedding, of attention scores, of each block's update, and of the logits.

Files of the dense Granite 4 models come with keys of their hybrid relatives: state-space layers and shared experts,
which they do not have.

Source: llama.cpp `src/models/granite.cpp` (without experts); there `rope.scaling.finetuned = false` switches the rotary
embedding off, so it is not ignored here. Its `conversion/granite.py` for the keys of Granite 4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from refruntime.model.architectures.llama import LLAMA

STATE_SPACE_KEYS: Final = frozenset(
    f"ssm.{name}" for name in ("conv_kernel", "state_size", "group_count", "inner_size", "time_step_rank")
)
"""Sizes of state-space layers; a layer without key/value heads would be one, and is refused."""

GRANITE: Final = replace(
    LLAMA,
    name="granite",
    logit_scale="divide",
    keys=frozenset({"attention.scale", "embedding_scale", "residual_scale", "logit_scale"}),
    ignored_keys=frozenset({"tensor_data_layout", "expert_shared_feed_forward_length"} | STATE_SPACE_KEYS),
)
