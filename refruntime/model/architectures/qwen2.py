"""qwen2: llama with biases on queries, keys and values, and rotary pairs in halves.

Source: llama.cpp `src/models/qwen2.cpp`.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import OPTIONAL, REQUIRED, Architecture

QWEN2: Final = Architecture("qwen2", rope_pairs="halves", qkv_bias=REQUIRED, output_bias=OPTIONAL)
