"""The model that tells orders of additions apart: widths that leave something over in lanes of 4, 8, 16 and 32."""

from __future__ import annotations

from typing import Final

from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile

SHAPE: Final = Shape(hidden=54, layers=1, heads=3, ffn=139, capacity=32)
"""Sums of 54 and 139 products in matrices, of 18 in attention scores, and longer ones than 128."""

PROMPT: Final = b"AHOVCJQXELSZGNUBIPWD"
"""So long that sums over positions fill sixteen lanes, too."""

QUANTIZED_SHAPE: Final = Shape(hidden=96, layers=1, heads=3, ffn=160, capacity=32)
"""Quantised rows are whole blocks of 32."""


def orders_model(profile: Profile, dtype: DType = DType.F32) -> bytes:
    """Return an SLM1 file with random weights of one storage type."""
    return random_model(5, SHAPE if dtype is DType.F32 else QUANTIZED_SHAPE, dtype, profile=profile)
