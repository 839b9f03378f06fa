"""nemotron: LayerNorm with biases (the file stores 1 + w), a part of each head rotated, squared ReLU without a gate.

Source: llama.cpp `src/models/nemotron.cpp`. The converter writes both epsilons; only that of LayerNorm is read.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import OPTIONAL, REQUIRED, Architecture

NEMOTRON: Final = Architecture(
    "nemotron",
    rope_pairs="halves",
    rope_partial=True,
    norm="layer",
    norm_bias=True,
    attention_output_bias=OPTIONAL,
    feed_forward="plain",
    feed_forward_bias=OPTIONAL,
    activation="relu squared",
    output=REQUIRED,
    ignored_keys=Architecture.ignored_keys | {"attention.layer_norm_rms_epsilon"},
)
