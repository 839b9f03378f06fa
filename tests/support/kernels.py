"""Loops that the tests of machine code compile."""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from refruntime.quants.compiled.loops import kernel, specialised
except ModuleNotFoundError:  # without numba nothing is compiled

    def kernel(function: Any) -> Any:
        """Return the function as it is."""
        return function

    specialised = kernel


@kernel
def everything(out, x, whole, single, double, pair):  # type: ignore[no-untyped-def]
    """Use an argument of each kind."""
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            out[row, column] = x[row, column] * whole + single + double + pair[0] + pair[1][column]


@kernel
def double(out, x):  # type: ignore[no-untyped-def]
    """Double numbers."""
    for i in range(x.size):
        out[i] = x[i] + x[i]


@kernel
def allocating(out):  # type: ignore[no-untyped-def]
    """Ask for memory while it runs."""
    out[:] = np.zeros(out.size, np.float32)


def _template(out, x):  # type: ignore[no-untyped-def]
    out[0] = out[0] * x[0] if MULTIPLIES else out[0] + x[0]  # type: ignore[name-defined]  # noqa: F821


def variant(name: str) -> Any:
    """Return a kernel by its name."""
    return specialised(_template, MULTIPLIES=int(name == "multiply"))
