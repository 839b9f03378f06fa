"""A WebAssembly build as an engine, run by wasmtime. Nothing that a build does hangs or ends the process.

The binding takes signed integers, wraps big ones silently and slices memory like a list, so this module converts
and checks ranges itself.
"""

from __future__ import annotations

import ctypes
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from refruntime.contract.exports import EXPORTS_BY_NAME, WasmType
from refruntime.engines.base import EngineLimit, EngineTrap, Limits, MemoryFault
from refruntime.engines.wasm.binding import c_interface, wasmtime
from refruntime.engines.wasm.messages import backtrace, one_line, trap_code, trap_message
from refruntime.engines.wasm.module import TICK_SECONDS, WasmModule, limited_store
from refruntime.host_numbers import Number, to_f32, to_u32, to_u64

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


class WasmEngine:
    """One fresh instance of a build.

    Raises what WasmModule raises; EngineTrap or EngineLimit when its start function or its data segments fail.
    After an EngineLimit of time the instance was left in the middle of something, so every later call raises it again.
    """

    name = "wasm"

    def __init__(self, module: WasmModule | bytes, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.module = module if isinstance(module, WasmModule) else WasmModule(module, self.limits)
        self._lock = threading.Lock()
        self._stopped = ""
        self._store = limited_store(self.module.engine, self.limits)
        seconds = self._begin("instantiation")
        try:
            instance = wasmtime.Instance(self._store, self.module.compiled, [])
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            raise self._failure("instantiation", seconds, error) from error
        finally:
            self.module.clock.stop()
        exports = instance.exports(self._store)
        self._memory = exports["memory"]
        self._functions = {name: exports[name] for name in EXPORTS_BY_NAME}
        self._calls: dict[str, tuple[PreparedCall, tuple[Callable[[Number], int | float], ...]]] = {}
        self._globals = {name: item for name, item in exports.items() if isinstance(item, wasmtime.Global)}

    @property
    def memory_size(self) -> int:
        """Return the size of linear memory in bytes."""
        return int(self._memory.data_len(self._store))

    def call(self, export: str, *arguments: Number) -> int | None:
        """Call an export with host numbers (ABI-3): EngineTrap, EngineLimit. None for an export without a result."""
        prepared, conversions = self._calls.get(export) or self._prepared(export)
        if len(arguments) != len(conversions):
            signature = EXPORTS_BY_NAME[export].signature
            raise TypeError(f"{signature} takes {len(conversions)} arguments, {len(arguments)} were given")
        values = [convert(argument) for convert, argument in zip(conversions, arguments, strict=True)]
        with self._lock:
            seconds = self._begin(export)
            try:
                result = prepared(*values)
            except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
                raise self._failure(export, seconds, error) from error
            finally:
                self.module.clock.stop()
        return None if result is None else result % 2**32

    def _prepared(self, export: str) -> tuple[PreparedCall, tuple[Callable[[Number], int | float], ...]]:
        """Prepare the calls of an export, with what converts its arguments (ABI-3)."""
        signature = EXPORTS_BY_NAME[export]
        types = signature.wasm_parameters
        prepared = PreparedCall(self._store, self._functions[export], types, bool(signature.result))
        self._calls[export] = prepared, tuple(_TO_WASM[kind] for kind in types)
        return self._calls[export]

    def read(self, pointer: int, length: int) -> bytes:
        """Copy bytes out of memory: MemoryFault outside of it."""
        with self._lock:
            return ctypes.string_at(self._address(pointer, length), length)

    def write(self, pointer: int, data: bytes) -> None:
        """Copy bytes into memory: MemoryFault outside of it."""
        with self._lock:
            ctypes.memmove(self._address(pointer, len(data)), data, len(data))

    def read_global(self, name: str) -> int:
        """Return the bits of an exported integer global as an unsigned number; KeyError for any other name."""
        with self._lock:
            exported = self._globals[name]
            bits = _GLOBAL_BITS[str(exported.type(self._store).content)]
            value: int = exported.value(self._store) % 2**bits
            return value

    def write_global(self, name: str, value: int) -> None:
        """Set an exported mutable integer global to the bits of an unsigned number; KeyError for any other name."""
        with self._lock:
            exported = self._globals[name]
            bits = _GLOBAL_BITS[str(exported.type(self._store).content)]
            exported.set_value(self._store, _signed(value % 2**bits, bits))

    def _address(self, pointer: int, length: int) -> int:
        """Return where a range lies in this process, asked anew each time because memory may have grown (MEM-5)."""
        size = self.memory_size
        if pointer < 0 or length < 0 or pointer + length > size:
            raise MemoryFault(f"range {pointer:#x} + {length} lies outside memory of {size} bytes")
        base = ctypes.cast(self._memory.data_ptr(self._store), ctypes.c_void_p).value or 0
        return base + pointer

    def _begin(self, what: str) -> float:
        """Begin a piece of the build with a deadline, and return the seconds that it has: EngineLimit without any."""
        if self._stopped:
            raise EngineLimit(self._stopped)
        left = self.limits.until - time.monotonic()
        if left <= 0:
            self._stopped = f"{what} was not run: the time of the whole run is used up"
            raise EngineLimit(self._stopped)
        seconds = min(self.limits.seconds, left)
        self._store.set_epoch_deadline(math.ceil(seconds / TICK_SECONDS) + 1)
        self.module.clock.start()
        return seconds

    def _failure(self, what: str, seconds: float, error: Exception) -> EngineTrap | EngineLimit:
        """Tell traps from limits, of a piece of the build that had so many seconds."""
        error.with_traceback(None)  # a frame of the binding holds it: with a traceback the instance would live on
        if not isinstance(error, wasmtime.Trap):
            return EngineLimit(f"{what} failed within {self.limits}: {one_line(error)}")
        if trap_code(error) == "INTERRUPT":
            spent = f"{seconds:g} seconds" if seconds == self.limits.seconds else "the time of the whole run"
            self._stopped = f"{what} was stopped after {spent}"
            return EngineLimit(self._stopped)
        return EngineTrap(f"{what} trapped: {trap_message(error)}{self._full()}", backtrace(error))

    def _full(self) -> str:
        """Say in a trap that memory is as good as full: a build that asks for too much mostly ends in one."""
        size = self.memory_size if hasattr(self, "_memory") else 0
        if 2 * size <= self.limits.memory_bytes:
            return ""
        return f" (its memory has {size} bytes; a build may have {self.limits.memory_bytes})"


def _signed(value: int, bits: int) -> int:
    return value - 2**bits if value >= 2 ** (bits - 1) else value


_GLOBAL_BITS: Final = {"i32": 32, "i64": 64}

_TO_WASM: dict[WasmType, Callable[[Number], int | float]] = {
    "i32": lambda value: _signed(to_u32(value), 32),
    "i64": lambda value: _signed(to_u64(value), 64),
    "f32": lambda value: float(to_f32(value)),
}
