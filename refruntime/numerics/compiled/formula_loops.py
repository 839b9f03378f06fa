"""The compiled loops of formulas, called without numba; `loops` and `scan_loops` say which arrays they take."""

from __future__ import annotations

from typing import Final

from refruntime.machine_code import Loop


def _loop(name: str, module: str = "loops") -> Loop:
    return Loop(f"refruntime.numerics.compiled.{module}", name)


project: Final = _loop("project")
exponential: Final = _loop("exponential")
hyperbolic_tangent: Final = _loop("hyperbolic_tangent")
silu: Final = _loop("silu")
rotate: Final = _loop("rotate")
rms_norm: Final = _loop("rms_norm")
attention: Final = _loop("attention")
dots: Final = _loop("dots")
state_space: Final = _loop("state_space", "scan_loops")
delta_net: Final = _loop("delta_net", "scan_loops")
