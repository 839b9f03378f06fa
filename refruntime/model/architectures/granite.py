"""granite: llama with four factors: of the embedding, of attention scores, of each block's update, and of the logits.

Source: llama.cpp `src/models/granite.cpp` (without experts); there `rope.scaling.finetuned = false` switches the rotary
embedding off, so it is not ignored here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from refruntime.model.architectures.llama import LLAMA

GRANITE: Final = replace(
    LLAMA,
    name="granite",
    logit_scale="divide",
    keys=frozenset({"attention.scale", "embedding_scale", "residual_scale", "logit_scale"}),
    ignored_keys=frozenset({"tensor_data_layout"}),
)
