"""Profile `ggml32`: the arithmetic of ggml's generic scalar CPU kernels, bit for bit."""

from __future__ import annotations

from refruntime.numerics.ggml32.profile import Ggml32
from refruntime.numerics.ggml32.switches import CHOICES, Switches, read_switches

__all__ = ["CHOICES", "Ggml32", "Switches", "read_switches"]
