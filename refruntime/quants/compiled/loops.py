"""What all compiled loops share: how they are written for numba, and how a block is read."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
from numba import njit


def inlined(function: Callable[..., Any]) -> Any:
    """Make a function that compiled code may call."""
    return njit(nogil=True, error_model="numpy")(function)


def kernel(function: Callable[..., Any], **options: Any) -> Any:
    """Make what `machine_code` compiles and calls: it has no way in for Python."""
    return njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)


def specialised(template: Callable[..., Any], **meanings: Any) -> Any:
    """Make a kernel of `template` in which global names mean the given compiled functions or whole numbers."""
    return kernel(meaning(template, **meanings))


def meaning(template: Callable[..., Any], **meanings: Any) -> Callable[..., Any]:
    """Return `template` with other meanings of global names."""
    made = FunctionType(template.__code__, {**template.__globals__, **meanings}, template.__name__)
    made.__doc__ = template.__doc__
    return made


@inlined
def u16(block, at):  # type: ignore[no-untyped-def]
    """Return the 16-bit number at a byte of a block."""
    return np.intp(block[at]) | np.intp(block[at + 1]) << 8


@inlined
def u32(block, at):  # type: ignore[no-untyped-def]
    """Return the 32-bit number at a byte of a block."""
    return u16(block, at) | u16(block, at + 2) << 16


@inlined
def nibble(block, at, index):  # type: ignore[no-untyped-def]
    """Return a nibble of those that follow each other from a byte on, the low one of each byte first."""
    return np.intp(block[at + (index >> 1)]) >> 4 * (index & 1) & 15
