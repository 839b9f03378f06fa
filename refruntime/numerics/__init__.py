"""The only place that rounds or orders: numeric profiles and libm."""

from __future__ import annotations

from refruntime.numerics.base import PLAIN_ATTENTION, Attention, AttentionVariant, Numerics
from refruntime.numerics.compiled.loading import KERNELS
from refruntime.numerics.compiled.seq32 import CompiledSeq32
from refruntime.numerics.f64 import F64
from refruntime.numerics.fast import Fast
from refruntime.numerics.in_place import RESIDENT, Inventory, has_blocks
from refruntime.numerics.rotary import RopeScaling, Rotary
from refruntime.numerics.seq32 import Seq32
from refruntime.numerics.sources import StoredSource

NUMERICS_NAMES = ("seq32", "f64", "fast", "ggml32")


def canonical_name(name: str) -> str:
    """Return the name of a numeric profile, its switches in their order without the defaults. Unknown: ValueError."""
    plain = name.split(",")[0]
    if plain == "ggml32":
        from refruntime.numerics.ggml32 import read_switches

        return str(read_switches(name))
    if name not in NUMERICS_NAMES:
        raise ValueError(f"unknown numeric profile {name!r}; expected one of {', '.join(NUMERICS_NAMES)}")
    return name


def numerics_named(name: str, threads: int | None = None, kernels: str = "auto", resident: str = "auto") -> Numerics:
    """Return the numeric profile `seq32`, `f64`, `fast` or `ggml32`. Unknown name: ValueError.

    `ggml32` may be followed by switches: `ggml32,kv=f16,gelu=f32`.

    `threads` and `kernels` (`auto`, `numpy`, `numba`) concern the speed of seq32 and never change a bit; `numba` raises
    ImportError where it cannot be loaded. `resident` says how seq32 and `fast` hold quantised weights: `float32`,
    `stored`, or `auto`, which is decided for each model.
    """
    name = canonical_name(name)
    if name == "seq32":
        return CompiledSeq32(threads, kernels, resident=resident)
    if name == "f64":
        return F64()
    if name == "fast":
        return Fast(resident, threads)
    from refruntime.numerics.ggml32 import Ggml32, read_switches

    return Ggml32(read_switches(name), threads, kernels)


__all__ = [
    "F64",
    "KERNELS",
    "NUMERICS_NAMES",
    "PLAIN_ATTENTION",
    "RESIDENT",
    "Attention",
    "AttentionVariant",
    "CompiledSeq32",
    "Fast",
    "Inventory",
    "Numerics",
    "RopeScaling",
    "Rotary",
    "Seq32",
    "StoredSource",
    "canonical_name",
    "has_blocks",
    "numerics_named",
]
