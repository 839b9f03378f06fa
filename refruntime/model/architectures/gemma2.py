"""gemma2: gemma with norms behind each block too, soft caps, and a window on every other layer, first one included.

The 27B model, told by its 46 layers, scales attention by 1 / sqrt(H / heads).

Source: llama.cpp `src/models/gemma2.cpp`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from refruntime.model.architectures.gemma import GEMMA

GEMMA2: Final = replace(
    GEMMA,
    name="gemma2",
    norm_behind=True,
    window_period=2,
    layers_scaled_by_hidden_size=46,
    keys=frozenset({"attn_logit_softcapping", "final_logit_softcapping", "rope.freq_base_swa"}),
    defaults={"attention.sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
)
