"""phi3: llama in halves with fused matrices: queries, keys and values in one, gate and up in another, gate first.

Longer contexts come with two sets of rotary factors and a factor for cosines and sines ("LongRoPE"). The long set is
used when the capacity exceeds the trained context, whatever the length of a prompt, as llama.cpp chooses by the size of
its context; transformers choose by the length of the sequence. A window in the file counts only under the profile's
GG-12.phi3-window.

Source: llama.cpp `src/models/phi3.cpp`.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import Architecture

PHI3: Final = Architecture(
    "phi3",
    rope_pairs="halves",
    rope_partial=True,
    queries_scaled=True,
    rope_factors="long and short",
    feed_forward="gate and up fused",
    keys=frozenset({"attention.sliding_window", "rope.scaling.attn_factor"}),
)
