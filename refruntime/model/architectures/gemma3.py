"""gemma3: gemma2 with normalised queries and keys instead of the soft cap on scores, and windows on five of six layers.

Windowed layers have a rotary base of their own (10000 unless the file says otherwise) and are never stretched. The 27B
model, told by its 62 layers, scales attention by 1 / sqrt(H / heads).

Source: llama.cpp `src/models/gemma3.cpp`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from refruntime.model.architectures.base import OPTIONAL
from refruntime.model.architectures.gemma2 import GEMMA2

GEMMA3: Final = replace(
    GEMMA2,
    name="gemma3",
    norm_of_queries_and_keys="head",
    window_period=6,
    window_rope_scaled=False,
    layers_scaled_by_hidden_size=62,
    output=OPTIONAL,
    keys=frozenset({"final_logit_softcapping", "rope.freq_base_swa"}),
    defaults={"rope.freq_base_swa": 10000.0},
)
