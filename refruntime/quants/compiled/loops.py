"""What all compiled loops share: how they are compiled, and how a block is read.

The machine code of a kernel that is kept on disk holds a copy of these functions. One that was made by `specialised` is
compiled again when what it calls changes; any other is not, so the meaning of what that calls must stay.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
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


def specialised(template: Callable[..., Any], name: str, **meanings: Any) -> Any:
    """Make a kernel of `template` in which global names have the given meanings: compiled functions or whole numbers.

    Machine code is kept by a kernel's name, so the name has a digest of all that the kernel calls.
    """
    digest = hashlib.sha256()
    named = {**template.__globals__, **meanings}
    seen: set[CodeType] = set()
    _add_called(digest, template.__code__, named, seen)
    for key in sorted(meanings):
        _add_meaning(digest, key, meanings[key], seen)
    full_name = f"{template.__name__}_{name}_{digest.hexdigest()[:8]}"
    made = FunctionType(template.__code__, named, full_name)
    made.__qualname__, made.__doc__ = full_name, template.__doc__
    return kernel(made)


def _add_called(digest: hashlib._Hash, code: CodeType, named: Mapping[str, Any], seen: set[CodeType]) -> None:
    """Add what a function does, and what the functions do that it calls by global names."""
    if code in seen:
        return
    seen.add(code)
    digest.update(repr((code.co_code, code.co_names)).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add_called(digest, constant, named, seen)
        else:
            digest.update(repr(constant).encode())
    for name in code.co_names:
        _add_meaning(digest, name, named.get(name), seen)


def _add_meaning(digest: hashlib._Hash, name: str, value: Any, seen: set[CodeType]) -> None:
    """Add what a global name means: what a compiled function or an intrinsic does, or a number."""
    digest.update(name.encode())
    compiled = getattr(value, "py_func", None) or getattr(value, "_defn", None)
    function = compiled or (value if isinstance(value, FunctionType) else None)
    if function is not None:
        _add_called(digest, function.__code__, function.__globals__, seen)
    elif isinstance(value, int | float | np.ndarray | np.generic):
        digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())


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
