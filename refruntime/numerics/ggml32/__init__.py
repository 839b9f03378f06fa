"""Profile `ggml32`: the arithmetic of ggml's generic scalar CPU kernels, bit for bit."""

from __future__ import annotations

from refruntime.numerics.ggml32.profile import Ggml32
from refruntime.numerics.ggml32.reordered import ORDERS, Reordered
from refruntime.numerics.ggml32.switches import CHOICES, Switches, read_switches

__all__ = ["CHOICES", "ORDERS", "Ggml32", "Reordered", "Switches", "read_switches"]
