"""qwen35: three of four layers hold a gated delta net; the fourth attends, with gates, and rotates a part of each head.

The sections of the rotary embedding differ for images alone; for text all positions are equal.

Queries and keys of a delta net are normalised with the epsilon of the file; transformers has 1e-6 there, as every
published file.

Published files hold one more layer, which drafts a token ahead; it is left out, as llama.cpp does unless asked.

Source: llama.cpp `src/models/qwen35.cpp`, `delta-net-base.cpp`; its converter regroups the value heads.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import WITHOUT_EFFECT, Architecture
from refruntime.model.architectures.granite import STATE_SPACE_KEYS

QWEN35: Final = Architecture(
    "qwen35",
    rope_pairs="halves",
    rope_partial=True,
    norm_of_queries_and_keys="head",
    ffn_norm="post_attention_norm",
    attention_gated=True,
    other_mixer="delta net",
    attention_interval=4,
    keys=STATE_SPACE_KEYS | {"attention.recurrent_layers", "full_attention_interval", "nextn_predict_layers"},
    ignored_keys=WITHOUT_EFFECT | {"rope.dimension_sections"},
)
