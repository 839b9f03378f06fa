"""olmo: llama with LayerNorm that has neither weights nor biases; queries, keys and values may be clamped.

Source: llama.cpp `src/models/olmo.cpp`.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import Architecture

OLMO: Final = Architecture("olmo", norm="layer", norm_weight=False, keys=frozenset({"attention.clamp_kqv"}))
