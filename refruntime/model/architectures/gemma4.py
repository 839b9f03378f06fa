"""gemma4: gemma3 whose layers differ in size and may share keys and values; inputs of every layer; experts beside.

Windowed layers have heads of their own size, and rotary factors count on the others alone. The last layers use keys and
values of earlier ones; where a layer has no matrix of values, its keys are its values, before norm and rotation.

Source: llama.cpp `src/models/gemma4.cpp`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from refruntime.model.architectures.base import ABSENT
from refruntime.model.architectures.gemma3 import GEMMA3

GEMMA4: Final = replace(
    GEMMA3,
    name="gemma4",
    rope_factors="one set",
    layers_differ=True,
    qkv_bias=ABSENT,
    layers_scaled_by_hidden_size=0,
    values_normalised=True,
    window_rope_scaled=True,
    queries_scaled=False,
    experts_beside=True,
    experts_fused="possible",
    experts_renormalised=True,
    layer_inputs=True,
    keys=GEMMA3.keys
    | {
        "attention.key_length_swa",
        "attention.value_length_swa",
        "attention.shared_kv_layers",
        "embedding_length_per_layer_input",
        "expert_count",
        "expert_used_count",
        "expert_feed_forward_length",
        "rope.dimension_count_swa",
    },
    defaults={},
)
