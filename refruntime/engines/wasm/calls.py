"""Call an export of an instance through wasmtime's C interface, prepared once.

The public call of the Python package asks for the type of the function and wraps every number anew, which takes longer
than most exports run. Types are known here (ABI-2), so arguments and result are laid out once for each instance.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

from refruntime.contract.exports import WasmType
from refruntime.engines.wasm.binding import c_interface, wasmtime

_KINDS: Final[dict[WasmType, int]] = {"i32": 0, "i64": 1, "f32": 2}


class PreparedCall:
    """One function of one store. Not for two threads at once, and not again while it runs."""

    def __init__(self, store: Any, function: Any, types: Sequence[WasmType], has_result: bool) -> None:
        self._store, self._function = store, function  # what the pointers below point into
        self._arguments = (c_interface.wasmtime_val_t * len(types))()
        for raw, kind in zip(self._arguments, types, strict=True):
            raw.kind = _KINDS[kind]
        self._setters = tuple(zip(self._arguments, types, strict=True))
        self._result = (c_interface.wasmtime_val_t * int(has_result))()
        self._has_result = has_result
        self._trap: Any = None
        self._pointers: tuple[Any, ...] = ()
        self._expect_trap()

    def __call__(self, *values: int | float) -> int | None:
        """Call with numbers in the range of their types, integers signed; returns the signed result of an i32.

        Raises wasmtime.Trap and wasmtime.WasmtimeError, as the Python package does.
        """
        for (raw, kind), value in zip(self._setters, values, strict=True):
            setattr(raw.of, kind, value)
        error = c_interface.wasmtime_func_call(*self._pointers)
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)
        if self._trap:
            trap = self._trap
            self._expect_trap()
            raise wasmtime.Trap._from_ptr(trap)
        return int(self._result[0].of.i32) if self._has_result else None

    def _expect_trap(self) -> None:
        """Make room for a trap, and all pointers anew; a trap that was raised owns the room it was told in."""
        self._trap = ctypes.POINTER(c_interface.wasm_trap_t)()
        self._pointers = (
            self._store._context(),
            ctypes.byref(self._function._func),
            self._arguments,
            len(self._arguments),
            self._result,
            len(self._result),
            ctypes.byref(self._trap),
        )
