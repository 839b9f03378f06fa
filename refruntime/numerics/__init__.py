"""The only place that rounds or orders: numeric profiles and libm."""

from __future__ import annotations

from refruntime.numerics.base import PLAIN_ATTENTION, Attention, AttentionVariant, Numerics
from refruntime.numerics.f64 import F64
from refruntime.numerics.rotary import RopeScaling, Rotary
from refruntime.numerics.seq32 import KERNELS, Seq32

NUMERICS_NAMES = ("seq32", "f64")


def numerics_named(name: str, threads: int | None = None, kernels: str = "auto") -> Numerics:
    """Return the numeric profile `seq32` or `f64`. Unknown name: ValueError.

    `threads` and `kernels` (`auto`, `numpy`, `numba`) concern the speed of seq32 and never change a bit; `numba` raises
    ImportError where it cannot be loaded.
    """
    if name == "seq32":
        return Seq32(threads, kernels)
    if name == "f64":
        return F64()
    raise ValueError(f"unknown numeric profile {name!r}; expected one of {', '.join(NUMERICS_NAMES)}")


__all__ = [
    "F64",
    "KERNELS",
    "NUMERICS_NAMES",
    "PLAIN_ATTENTION",
    "Attention",
    "AttentionVariant",
    "Numerics",
    "RopeScaling",
    "Rotary",
    "Seq32",
    "numerics_named",
]
