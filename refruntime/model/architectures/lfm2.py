"""lfm2: most layers mix by a short gated convolution; the layers with key/value heads attend as in qwen3.

The last norm is called `token_embd_norm`.

Source: llama.cpp `src/models/lfm2.cpp` (without experts).
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import Architecture

LFM2: Final = Architecture(
    "lfm2",
    rope_pairs="halves",
    norm_of_queries_and_keys="head",
    output_norm="token_embd_norm",
    other_mixer="convolution",
    keys=frozenset({"shortconv.l_cache"}),
)
