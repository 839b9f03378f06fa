"""phi2: parallel layers behind one LayerNorm, rotation of a part of each head, GELU without a gate, biases everywhere.

Source: llama.cpp `src/models/phi2.cpp`.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import REQUIRED, Architecture

PHI2: Final = Architecture(
    "phi2",
    rope_pairs="halves",
    rope_partial=True,
    queries_scaled=True,
    norm="layer",
    norm_bias=True,
    qkv_bias=REQUIRED,
    attention_output_bias=REQUIRED,
    feed_forward="plain",
    feed_forward_bias=REQUIRED,
    activation="gelu tanh",
    parallel_sum="input last",
    parallel="always",
    output=REQUIRED,
    output_bias=REQUIRED,
)
