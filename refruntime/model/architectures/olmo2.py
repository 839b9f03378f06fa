"""olmo2: norms behind the blocks instead of before them, and queries and keys normalised over the whole row.

With a window in the file (OLMo 3) three of four layers have it, or those that the file lists, and their rotary
embedding is not stretched.

Source: llama.cpp `src/models/olmo2.cpp`.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import REQUIRED, Architecture

OLMO2: Final = Architecture(
    "olmo2",
    rope_pairs="halves",
    norm_before=False,
    norm_behind=True,
    norm_of_queries_and_keys="row",
    window_period=4,
    window_rope_scaled=False,
    output=REQUIRED,
    keys=frozenset({"rope.freq_base_swa"}),
)
