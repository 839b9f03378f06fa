"""The only place that rounds or orders: numeric profiles and libm."""

from __future__ import annotations

from refruntime.numerics.base import PLAIN_ATTENTION, Attention, AttentionVariant, Numerics
from refruntime.numerics.f64 import F64
from refruntime.numerics.fast import RESIDENT, Fast
from refruntime.numerics.rotary import RopeScaling, Rotary
from refruntime.numerics.seq32 import KERNELS, Seq32

NUMERICS_NAMES = ("seq32", "f64", "fast")


def numerics_named(name: str, threads: int | None = None, kernels: str = "auto", resident: str = "float32") -> Numerics:
    """Return the numeric profile `seq32`, `f64` or `fast`. Unknown name: ValueError.

    `threads` and `kernels` (`auto`, `numpy`, `numba`) concern the speed of seq32 and never change a bit; `numba` raises
    ImportError where it cannot be loaded. `resident` says how `fast` holds its weights: `float32` or `quantized`.
    """
    if name == "seq32":
        return Seq32(threads, kernels)
    if name == "f64":
        return F64()
    if name == "fast":
        return Fast(resident)
    raise ValueError(f"unknown numeric profile {name!r}; expected one of {', '.join(NUMERICS_NAMES)}")


__all__ = [
    "F64",
    "KERNELS",
    "NUMERICS_NAMES",
    "PLAIN_ATTENTION",
    "RESIDENT",
    "Attention",
    "AttentionVariant",
    "Fast",
    "Numerics",
    "RopeScaling",
    "Rotary",
    "Seq32",
    "numerics_named",
]
