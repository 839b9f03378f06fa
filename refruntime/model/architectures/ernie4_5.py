"""ernie4_5: llama, whose converter has nothing to permute: its pairs lie side by side from the start.

Source: llama.cpp `src/models/ernie4-5.cpp` (dense layers).
"""

from __future__ import annotations

from typing import Final

from refruntime.model.architectures.base import OPTIONAL, Architecture

ERNIE4_5: Final = Architecture("ernie4_5", attention_output_bias=OPTIONAL)
