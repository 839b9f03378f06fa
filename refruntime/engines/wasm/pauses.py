"""Run any module and stop one of its calls at many points, so that its memory can be read there.

wasmtime counts fuel and, in its C interface, yields each time another portion is burnt: the call is suspended, the host
reads memory and goes on (`wasmtime_func_call_async`, `wasmtime_context_fuel_async_yield_interval`,
`wasmtime_call_future_poll`). The Python package binds these without a public name. Where a version lacks them the whole
performance is repeated on a fresh instance for every pause and stopped by a lack of fuel, so that nothing of a state,
such as a stack pointer in a global that is not exported, has to be copied. Both stop at the same points: the first loop
head or function entry after a multiple of the interval. Nobody else needs to know which of them runs.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.base import EngineError, EngineLimit, EngineTrap, InvalidModule, Limits, MemoryFault
from refruntime.engines.wasm.binding import c_interface, wasmtime
from refruntime.engines.wasm.messages import backtrace, one_line, trap_code, trap_message
from refruntime.engines.wasm.module import TICK_SECONDS, EpochClock, compile_module, limited_store, new_engine
from refruntime.host_numbers import Number, to_f32, to_u32, to_u64
from refruntime.instrument.reader import check_header

MOST_FUEL: Final = 2**62
NEVER: Final = 2**61
"""An interval that no call burns."""

HAS_YIELDS: Final = all(
    hasattr(c_interface, name)
    for name in (
        "wasmtime_func_call_async",
        "wasmtime_context_fuel_async_yield_interval",
        "wasmtime_call_future_poll",
        "wasmtime_call_future_delete",
    )
)

Words = NDArray[np.uint32]
OnPause = Callable[[int, Words], int | None]
"""Take the fuel burnt since the call began and memory as little-endian words; may return another interval."""


class Enough(Exception):
    """Raised by an `OnPause` that has seen enough; the call is given up and the instance takes no more calls."""


class PausableModule:
    """A compiled module of any surface whose instances count fuel. Imports trap when they are called.

    Raises InvalidModule, or EngineLimit when compilation takes longer than `limits.seconds`.
    """

    def __init__(self, data: bytes, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        check_header(data)
        self.engine: Any = new_engine(consume_fuel=True)
        self.compiled = compile_module(self.engine, bytes(data), self.limits)
        self.clock = EpochClock(self.engine)


class PausableInstance:
    """One fresh instance; an `Engine` whose exports may be any, so that `Client` works on it where they are the 13.

    `name` is `wasm`. Its memory is the exported one. `watch` says which call is stopped. Failures: as `WasmEngine`, and
    EngineError for an export that does not exist or takes other arguments.
    """

    name = "wasm"

    def __init__(self, module: PausableModule) -> None:
        self.module = module
        self.fuel_of_watched = 0
        """What the watched call burnt, once it is through."""
        self._watch: tuple[str, int, int, OnPause] | None = None
        self._calls: dict[str, int] = {}
        self._words: Words = np.zeros(0, np.uint32)
        self._store: Any = limited_store(module.engine, module.limits)
        self._store.set_fuel(MOST_FUEL)
        self._renew()
        linker = wasmtime.Linker(module.engine)
        module.clock.start()
        try:
            linker.define_unknown_imports_as_traps(module.compiled)
            self._exports = linker.instantiate(self._store, module.compiled).exports(self._store)
        except wasmtime.Trap as trap:
            raise self._trapped("instantiation", trap) from trap
        except wasmtime.WasmtimeError as error:
            raise InvalidModule(f"the module cannot be instantiated: {one_line(error)}") from error
        finally:
            module.clock.stop()
        memories = [each for each in self._exports.values() if isinstance(each, wasmtime.Memory)]
        if not memories:
            raise InvalidModule("the module exports no memory")
        self._memory = memories[0]

    def watch(self, export: str, occurrence: int, interval: int, on_pause: OnPause) -> None:
        """Stop the call number `occurrence` (from 0) of `export` after every `interval` units of fuel."""
        self._watch = (export, occurrence, interval, on_pause)

    @property
    def memory_size(self) -> int:
        """Return the size of linear memory in bytes."""
        return int(self._memory.data_len(self._store))

    def call(self, export: str, *arguments: Number) -> Any:
        """Call an export; integers in and out have their unsigned meaning. None for an export without a result."""
        try:
            function = self._exports[export]
            types = function.type(self._store)
        except (KeyError, AttributeError):
            raise EngineError(f"the module has no function {export!r}") from None
        kinds, results = [str(kind) for kind in types.params], [str(kind) for kind in types.results]
        if len(kinds) != len(arguments) or len(results) > 1:
            raise EngineError(f"{export} takes ({', '.join(kinds)}) and gives ({', '.join(results)})")
        raw = (c_interface.wasmtime_val_t * len(arguments))()
        for place, (kind, argument) in enumerate(zip(kinds, arguments, strict=True)):
            _fill(raw[place], kind, argument)
        count = self._calls.get(export, 0)
        self._calls[export] = count + 1
        result = (c_interface.wasmtime_val_t * len(results))()
        interval: int = NEVER
        on_pause: OnPause = _never
        watched = self._watch is not None and self._watch[:2] == (export, count)
        if self._watch is not None and watched:
            interval, on_pause = self._watch[2:]
        self._run(export, function, raw, result, interval, on_pause, watched)
        return _value(result[0], results[0]) if results else None

    def read(self, pointer: int, length: int) -> bytes:
        """Copy bytes out of memory: MemoryFault outside of it."""
        return ctypes.string_at(self._address(pointer, length), length)

    def write(self, pointer: int, data: bytes) -> None:
        """Copy bytes into memory: MemoryFault outside of it."""
        ctypes.memmove(self._address(pointer, len(data)), data, len(data))

    def words(self) -> Words:
        """Return linear memory without a copy: the same array until memory grows or moves, then it is stale (MEM-5)."""
        size = self.memory_size // 4
        if size != self._words.size:  # memory moves only when it grows
            self._words = np.ctypeslib.as_array((ctypes.c_uint32 * size).from_address(self._address(0, 4 * size)))
        return self._words

    def _run(
        self, export: str, function: Any, raw: Any, result: Any, interval: int, on_pause: OnPause, watched: bool
    ) -> None:
        """Call a function, watched or not, within the limits."""
        self._renew()
        self.module.clock.start()
        before = MOST_FUEL
        self._store.set_fuel(before)
        try:
            if HAS_YIELDS:  # a store that yields once takes no other calls
                self._yielding(function, raw, result, interval, on_pause)
            else:
                if watched:
                    self._store.set_fuel(interval)
                    before = interval
                self._plain(function, raw, result)
            if watched:
                self.fuel_of_watched = before - int(self._store.get_fuel())
        except wasmtime.Trap as trap:
            if watched and trap_code(trap) == "OUT_OF_FUEL":
                on_pause(interval, self.words())
                raise Enough from trap
            raise self._trapped(export, trap) from trap
        except wasmtime.WasmtimeError as error:
            raise EngineLimit(f"{export} failed: {one_line(error)}") from error
        finally:
            self.module.clock.stop()

    def _plain(self, function: Any, raw: Any, result: Any) -> None:
        trap = ctypes.POINTER(c_interface.wasm_trap_t)()
        error = c_interface.wasmtime_func_call(
            self._store._context(), ctypes.byref(function._func), raw, len(raw), result, len(result), ctypes.byref(trap)
        )
        self._raise(trap, error)

    def _yielding(self, function: Any, raw: Any, result: Any, interval: int, on_pause: OnPause) -> None:
        context = self._store._context()
        self._raise(None, c_interface.wasmtime_context_fuel_async_yield_interval(context, interval))
        trap = ctypes.POINTER(c_interface.wasm_trap_t)()
        error = ctypes.POINTER(c_interface.wasmtime_error_t)()
        future = c_interface.wasmtime_func_call_async(
            context,
            ctypes.byref(function._func),
            raw,
            len(raw),
            result,
            len(result),
            ctypes.byref(trap),
            ctypes.byref(error),
        )
        try:
            while not c_interface.wasmtime_call_future_poll(future):
                self._renew()
                wanted = on_pause(MOST_FUEL - int(self._store.get_fuel()), self.words())
                if wanted is not None:
                    self._raise(None, c_interface.wasmtime_context_fuel_async_yield_interval(context, wanted))
        finally:
            c_interface.wasmtime_call_future_delete(future)
        self._raise(None, c_interface.wasmtime_context_fuel_async_yield_interval(context, NEVER))
        self._raise(trap, error)

    def _raise(self, trap: Any, error: Any) -> None:
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)
        if trap:
            raise wasmtime.Trap._from_ptr(trap)

    def _renew(self) -> None:
        """Give the build its whole time again."""
        self._store.set_epoch_deadline(math.ceil(self.module.limits.seconds / TICK_SECONDS) + 1)

    def _trapped(self, what: str, trap: Any) -> EngineError:
        if trap_code(trap) == "INTERRUPT":
            return EngineLimit(f"{what} was stopped after {self.module.limits.seconds:g} seconds")
        return EngineTrap(f"{what} trapped: {trap_message(trap)}", backtrace(trap))

    def _address(self, pointer: int, length: int) -> int:
        size = self.memory_size
        if pointer < 0 or length < 0 or pointer + length > size:
            raise MemoryFault(f"range {pointer:#x} + {length} lies outside memory of {size} bytes")
        return (ctypes.cast(self._memory.data_ptr(self._store), ctypes.c_void_p).value or 0) + pointer


Perform = Callable[[PausableInstance], None]
"""Do everything that a host does, up to and with the call that is watched."""


def run_with_pauses(
    module: PausableModule, perform: Perform, export: str, occurrence: int, interval: int, on_pause: OnPause
) -> PausableInstance:
    """Perform on a fresh instance, stopping at every `interval` units of fuel of the watched call; return it.

    The same performance stops at the same points with the same memory, always. What `on_pause` raises comes through.
    """
    if HAS_YIELDS or interval >= NEVER:
        instance = PausableInstance(module)
        instance.watch(export, occurrence, interval, on_pause)
        perform(instance)
        return instance
    return _run_with_restarts(module, perform, export, occurrence, interval, on_pause)


def _run_with_restarts(
    module: PausableModule, perform: Perform, export: str, occurrence: int, interval: int, on_pause: OnPause
) -> PausableInstance:
    """Repeat the performance with more fuel each time."""
    fuel, chosen = interval, interval

    def remember(burnt: int, words: Words) -> None:
        nonlocal chosen
        chosen = on_pause(burnt, words) or chosen

    while True:
        instance = PausableInstance(module)
        instance.watch(export, occurrence, fuel, lambda burnt, words: remember(burnt, words))
        try:
            perform(instance)
        except Enough as stopped:
            if stopped.__cause__ is None:
                raise
            fuel += chosen
        else:
            return instance


def _never(_fuel: int, _words: Words) -> int | None:
    """Look at nothing."""
    return None


def _fill(raw: Any, kind: str, argument: Number) -> None:
    """Convert a host number as a JavaScript host does (ABI-3)."""
    if kind == "i32":
        raw.kind, raw.of.i32 = 0, ctypes.c_int32(to_u32(argument)).value
    elif kind == "i64":
        raw.kind, raw.of.i64 = 1, ctypes.c_int64(to_u64(argument)).value
    elif kind == "f32":
        raw.kind, raw.of.f32 = 2, float(to_f32(argument))
    elif kind == "f64":
        raw.kind, raw.of.f64 = 3, float(argument)
    else:
        raise EngineError(f"an argument of type {kind} cannot be given")


def _value(raw: Any, kind: str) -> int | float:
    if kind in ("i32", "i64"):
        return int(raw.of.i32) % 2**32 if kind == "i32" else int(raw.of.i64) % 2**64
    return float(raw.of.f32 if kind == "f32" else raw.of.f64)
