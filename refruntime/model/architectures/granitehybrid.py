"""granitehybrid: granite whose layers without key/value heads hold a state space, with experts beside a shared one.

The key rope.scaling.finetuned switches the rotary embedding off. Without routed experts the feed-forward is dense.

Source: llama.cpp `src/models/granite-hybrid.cpp`, `mamba-base.cpp`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from refruntime.model.architectures.granite import GRANITE, STATE_SPACE_KEYS

GRANITEHYBRID: Final = replace(
    GRANITE,
    name="granitehybrid",
    rope_switched=True,
    other_mixer="state space",
    feed_forward="experts",
    experts_renormalised=True,
    shared_expert="plain",
    logit_scale="divide",
    keys=GRANITE.keys
    | STATE_SPACE_KEYS
    | {"expert_count", "expert_used_count", "expert_shared_feed_forward_length", "rope.scaling.finetuned"},
    ignored_keys=frozenset({"tensor_data_layout"}),
)
