"""Profile `ggml32`: the arithmetic of ggml's generic scalar CPU kernels, bit for bit."""

from __future__ import annotations

from refruntime.numerics.ggml32.profile import Ggml32
from refruntime.numerics.ggml32.reordered import ORDERS, Reordered
from refruntime.numerics.ggml32.switches import CHOICES, Switches, read_switches
from refruntime.numerics.ggml32.turned import Turned

__all__ = ["CHOICES", "ORDERS", "Ggml32", "Reordered", "Switches", "Turned", "read_switches"]
