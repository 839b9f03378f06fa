"""olmoe: llama in halves with experts, whose shares are not renormalised, and queries and keys normalised by row.

Source: llama.cpp `src/models/olmoe.cpp`.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import REQUIRED, Architecture

OLMOE: Final = Architecture(
    "olmoe",
    rope_pairs="halves",
    norm_of_queries_and_keys="row",
    feed_forward="experts",
    output=REQUIRED,
    keys=frozenset({"expert_count", "expert_used_count"}),
)
