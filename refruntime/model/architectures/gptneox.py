"""gptneox: LayerNorm, rotation of a part of each head, biases everywhere; parallel layers have a norm for each block.

llama.cpp computes the tanh form of GELU, transformers the exact one with erf: GG-12.gptneox-gelu of the profile.

Source: llama.cpp `src/models/gptneox.cpp`.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import REQUIRED, Architecture

GPTNEOX: Final = Architecture(
    "gptneox",
    rope_pairs="halves",
    rope_partial=True,
    norm="layer",
    norm_bias=True,
    qkv_fused="always",
    qkv_bias=REQUIRED,
    attention_output_bias=REQUIRED,
    feed_forward="plain",
    feed_forward_bias=REQUIRED,
    activation="gelu tanh",
    parallel_sum="attention last",
    parallel="key",
    parallel_norm="own",
    output=REQUIRED,
)
