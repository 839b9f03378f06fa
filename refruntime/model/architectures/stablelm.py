"""stablelm: LayerNorm with biases, rotation of a part of each head; with parallel layers both blocks read one norm.

Parallel layers are told by the absence of `ffn_norm`. The key `use_parallel_residual` says nothing: the converter
writes true for the 1.6B and 3B models too, whose layers are not parallel. Normalised queries and keys (12B) are
refused as tensors without a use.

Source: llama.cpp `src/models/stablelm.cpp`; its `conversion/stablelm.py` for the key.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import REQUIRED, WITHOUT_EFFECT, Architecture

STABLELM: Final = Architecture(
    "stablelm",
    rope_pairs="halves",
    rope_partial=True,
    norm="layer",
    norm_bias=True,
    parallel="without ffn_norm",
    output=REQUIRED,
    ignored_keys=WITHOUT_EFFECT | {"use_parallel_residual"},
)
