"""smollm3: llama in which every fourth layer rotates nothing.

Source: llama.cpp `src/models/smollm3.cpp`.
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import Architecture

SMOLLM3: Final = Architecture("smollm3", rope_skipped_every=4)
