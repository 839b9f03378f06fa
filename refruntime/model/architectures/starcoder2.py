"""starcoder2: LayerNorm, GELU without a gate, biases everywhere, rotary pairs in halves.

Source: llama.cpp `src/models/starcoder2.cpp`.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import REQUIRED, Architecture

STARCODER2: Final = Architecture(
    "starcoder2",
    rope_pairs="halves",
    norm="layer",
    norm_bias=True,
    qkv_bias=REQUIRED,
    attention_output_bias=REQUIRED,
    feed_forward="plain",
    feed_forward_bias=REQUIRED,
    activation="gelu tanh",
)
