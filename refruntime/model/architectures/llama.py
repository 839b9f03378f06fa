"""llama: RMSNorm, rotary pairs that lie side by side, SwiGLU: what the defaults of a description say.

Source: llama.cpp `src/models/llama.cpp` (without experts). Its converter permutes the rows of Wq and Wk, so that the
halves of the original become adjacent pairs. Factors and biases are those of relatives stored under this name.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import OPTIONAL, Architecture

LLAMA: Final = Architecture(
    "llama",
    rope_factors="one set",
    attention_output_bias=OPTIONAL,
    feed_forward_bias=OPTIONAL,
)
