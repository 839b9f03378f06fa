"""cohere2: command-r with windows on three of four layers; the layers without a window rotate nothing.

Source: llama.cpp `src/models/cohere2.cpp`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from refruntime.model.architectures.command_r import COMMAND_R

COHERE2: Final = replace(
    COMMAND_R,
    name="cohere2",
    rope_of_windows_only=True,
    rope_factors="one set",
    window_period=4,
    keys=frozenset({"logit_scale", "rope.freq_base_swa"}),
)
