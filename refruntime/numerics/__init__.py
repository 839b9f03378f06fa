"""The only place that rounds or orders: numeric profiles and libm."""

from __future__ import annotations

from refruntime.numerics.base import Attention, Numerics
from refruntime.numerics.f64 import F64
from refruntime.numerics.rotary import RopeScaling, Rotary
from refruntime.numerics.seq32 import Seq32

NUMERICS_NAMES = ("seq32", "f64")


def numerics_named(name: str, threads: int | None = None) -> Numerics:
    """Return the numeric profile `seq32` or `f64`; `threads` never changes a bit. Unknown name: ValueError."""
    if name == "seq32":
        return Seq32(threads)
    if name == "f64":
        return F64()
    raise ValueError(f"unknown numeric profile {name!r}; expected one of {', '.join(NUMERICS_NAMES)}")


__all__ = ["F64", "NUMERICS_NAMES", "Attention", "Numerics", "RopeScaling", "Rotary", "Seq32", "numerics_named"]
