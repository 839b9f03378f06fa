"""gemma: embeddings times sqrt(H), GELU, and an output that is always the embedding table.

The file stores 1 + w for every norm weight w, so the norm itself is plain RMSNorm.

Source: llama.cpp `src/models/gemma.cpp`.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import ABSENT, Architecture

GEMMA: Final = Architecture(
    "gemma",
    embedding_times_root=True,
    rope_pairs="halves",
    activation="gelu tanh",
    queries_scaled=True,
    output=ABSENT,
)
