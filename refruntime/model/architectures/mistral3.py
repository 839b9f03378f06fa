"""mistral3: llama whose queries grow with the position, and a YaRN whose magnitude has a multiplier.

Beyond the trained context queries are multiplied by 1 + scale * ln(1 + floor(position / trained context)).

Source: llama.cpp `src/models/mistral3.cpp` (without experts); `llama_context` for the multiplier.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from refruntime.model.architectures.llama import LLAMA

MISTRAL3: Final = replace(
    LLAMA,
    name="mistral3",
    keys=frozenset({"attention.temperature_scale", "rope.scaling.yarn_log_multiplier"}),
)
