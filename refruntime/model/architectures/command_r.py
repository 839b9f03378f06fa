"""command-r: LayerNorm without biases, parallel layers behind one norm, tied output, logits times a factor.

Source: llama.cpp `src/models/command-r.cpp`. Normalised queries and keys (from 64 layers on) are refused as tensors
without a use.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import ABSENT, Architecture

COMMAND_R: Final = Architecture(
    "command-r",
    norm="layer",
    parallel_sum="attention last",
    parallel="always",
    output=ABSENT,
    logit_scale="multiply",
    keys=frozenset({"logit_scale"}),
)
