"""The compiled loops of formulas, to be called without numba; `loops` says what they do and which arrays they take."""

from __future__ import annotations

from typing import Final

from refruntime.machine_code import Loop


def _loop(name: str) -> Loop:
    return Loop("refruntime.numerics.compiled.loops", name)


project: Final = _loop("project")
exponential: Final = _loop("exponential")
hyperbolic_tangent: Final = _loop("hyperbolic_tangent")
silu: Final = _loop("silu")
rotate: Final = _loop("rotate")
rms_norm: Final = _loop("rms_norm")
attention: Final = _loop("attention")
dots: Final = _loop("dots")
