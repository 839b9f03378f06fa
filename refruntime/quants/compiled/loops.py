"""What all compiled loops share: how they are compiled, and how a block is read.

The machine code of a kernel that is kept on disk holds a copy of these functions. One that was made by `specialised` is
compiled again when a file of this folder changes; any other is not, so the meaning of what it calls must stay.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numba import njit


def inlined(function: Callable[..., Any]) -> Any:
    """Make a function that compiled code may call."""
    return njit(nogil=True, error_model="numpy")(function)


def kernel(function: Callable[..., Any], **options: Any) -> Any:
    """Make a kernel. Its machine code is kept beside its file or, where that is read-only, in the user's cache."""
    try:
        return njit(nogil=True, error_model="numpy", cache=True, **options)(function)
    except RuntimeError:  # no folder can be written: compile anew in every process
        return njit(nogil=True, error_model="numpy", **options)(function)


@cache
def sources() -> bytes:
    """Return a digest of the files of this folder: machine code that is kept holds copies of their functions."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def specialised(template: Callable[..., Any], name: str, **meanings: Any) -> Any:
    """Make a kernel of `template` in which global names have the given meanings: compiled functions or whole numbers.

    Machine code is kept by a kernel's name, so the name has a digest of what the meanings do and of the files of this
    folder, which hold what these call.
    """
    digest = hashlib.sha256(sources())
    for key in sorted(meanings):
        function = getattr(meanings[key], "py_func", None)
        code = getattr(function, "__code__", None)
        meant = meanings[key] if code is None else (code.co_code, code.co_consts, code.co_names)
        digest.update(repr((key, meant)).encode())
    full_name = f"{template.__name__}_{name}_{digest.hexdigest()[:8]}"
    made = FunctionType(template.__code__, {**template.__globals__, **meanings}, full_name)
    made.__qualname__, made.__doc__ = full_name, template.__doc__
    return kernel(made)


_COMPILING = threading.Lock()


def compile_for(kernel: Any, *signature: Any) -> None:
    """Compile a kernel for its one signature, or load its machine code from disk; any thread may ask, once counts."""
    with _COMPILING:
        if not kernel.signatures:
            kernel.compile(signature)
            kernel.disable_compile()  # arrays of another type are a mistake, not a reason to compile again


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
