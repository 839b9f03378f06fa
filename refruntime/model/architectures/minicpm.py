"""minicpm: granite without a factor of its own for attention scores; old files leave the other three factors out.

Source: llama.cpp `src/models/minicpm.cpp` for the defaults of version 0.5.0: 12, 1.4 / sqrt(layers), 256 / H. The last
one divides the logits there, although its converter writes the inverse; files that have the key do not depend on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from refruntime.model.architectures.base import WITHOUT_EFFECT
from refruntime.model.architectures.granite import GRANITE

MINICPM: Final = replace(
    GRANITE,
    name="minicpm",
    keys=frozenset({"embedding_scale", "residual_scale", "logit_scale"}),
    defaults={"embedding_scale": 12.0},
    scales_by_size=True,
    ignored_keys=WITHOUT_EFFECT,
)
