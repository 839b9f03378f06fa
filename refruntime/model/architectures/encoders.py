"""bert and nomic-bert: every position sees all, each block is added to its input and the sum is normalised (GG-15).

They end in rows of numbers, not in logits, so nothing is generated; `refruntime.embeddings` reads them.

Source: llama.cpp `src/models/bert.cpp`, `nomic-bert.cpp`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from refruntime.model.architectures.base import OPTIONAL, Architecture

BERT: Final = Architecture(
    "bert",
    positions="learned",
    norm="layer",
    norm_bias=True,
    norm_before=False,
    norm_behind=True,
    norms_behind=("attn_output_norm", "layer_output_norm"),
    attention_output_bias=OPTIONAL,
    feed_forward="plain",
    feed_forward_bias=OPTIONAL,
    activation="gelu tanh",
    keys=frozenset({"attention.causal", "pooling_type"}),
)

NOMIC_BERT: Final = replace(
    BERT,
    name="nomic-bert",
    positions="rotary",
    rope_pairs="halves",
    feed_forward="gated",
    feed_forward_bias="absent",
    activation="silu",
)

ENCODERS: Final[Mapping[str, Architecture]] = {encoder.name: encoder for encoder in (BERT, NOMIC_BERT)}
"""Every supported encoder by its `general.architecture`."""
