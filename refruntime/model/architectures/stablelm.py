"""stablelm: LayerNorm with biases, rotation of a part of each head; with parallel layers both blocks read one norm.

Source: llama.cpp `src/models/stablelm.cpp`, which tells parallel layers by the absence of `ffn_norm`; the key
`use_parallel_residual` has to agree here. Normalised queries and keys (12B) are refused as tensors without a use.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import REQUIRED, Architecture

STABLELM: Final = Architecture(
    "stablelm",
    rope_pairs="halves",
    rope_partial=True,
    norm="layer",
    norm_bias=True,
    parallel="key",
    output=REQUIRED,
)
