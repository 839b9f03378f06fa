"""A WebAssembly build as an engine, run by wasmtime. Nothing that a build does hangs or ends the process.

The binding takes signed integers, wraps big ones silently and slices memory like a list, so this module converts
and checks ranges itself. NaN canonicalisation stays off: it costs speed, and no bit of a NaN is ever compared (DG-7).
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final

from refruntime.contract.exports import EXPORTS_BY_NAME, WasmType
from refruntime.engines.base import (
    EngineLimit,
    EngineMissing,
    EngineTrap,
    InterfaceMismatch,
    InvalidModule,
    Limits,
    MemoryFault,
    refusing_malformed,
)
from refruntime.engines.interface import interface_problems, read_surface, visible
from refruntime.host_numbers import Number, to_f32, to_u32, to_u64
from refruntime.instrument.reader import check_header

try:
    import wasmtime
except ModuleNotFoundError as error:
    raise EngineMissing("wasmtime is not installed: pip install 'refruntime[wasm]'", name="wasmtime") from error
except (ImportError, OSError, RuntimeError) as error:  # its native library does not exist for this machine
    raise EngineMissing(f"wasmtime is installed but cannot be loaded: {error}", name="wasmtime") from error

MAX_MODULE_BYTES: Final = 16 * 2**20
MAX_TABLE_ELEMENTS: Final = 2**20
MAX_TABLES: Final = 16
STACK_BYTES: Final = 2**19
TICK_SECONDS: Final = 0.02
IDLE_TICKS: Final = 50

FEATURES = {
    # The contract is a wasm32 module with one memory. Proposals beyond what builds of Rust for wasm32 use stay off, so
    # that a module which needs one is refused by name.
    "wasm_multi_memory": False,
    "wasm_gc": False,
    "wasm_function_references": False,
    "wasm_exceptions": False,
    "wasm_stack_switching": False,
    "wasm_custom_page_sizes": False,
    # Relaxed SIMD gives the same bits on every machine.
    "wasm_relaxed_simd_deterministic": True,
    "max_wasm_stack": STACK_BYTES,
    # Epochs stop a call after its time; fuel would count every instruction instead.
    "epoch_interruption": True,
}


class WasmModule:
    """A compiled build with the surface of ABI-1; instances of it are cheap, so compile once and keep this.

    Raises InvalidModule, InterfaceMismatch, or EngineLimit when compilation takes longer than `limits.seconds`.
    """

    def __init__(self, data: bytes, limits: Limits | None = None) -> None:
        self.size = len(data)
        self.sha256 = hashlib.sha256(data).hexdigest()
        if self.size > MAX_MODULE_BYTES:
            raise InvalidModule(f"the module has {self.size} bytes; at most {MAX_MODULE_BYTES} are accepted")
        with refusing_malformed():
            check_header(data)  # the binding would take other bytes for the text format
        self.engine: Any = new_engine()
        self.compiled = compile_module(self.engine, bytes(data), limits or Limits())
        self.clock = EpochClock(self.engine)
        surface = read_surface(data)
        problems = interface_problems(surface.imports, surface.exports)
        if problems:
            raise InterfaceMismatch(problems)

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process of this program needs to go on without compiling again."""
        return {"size": self.size, "sha256": self.sha256, "machine_code": bytes(self.compiled.serialize())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over from another process of this program: machine code is trusted."""
        self.size, self.sha256 = state["size"], state["sha256"]
        self.engine = new_engine()
        self.compiled = wasmtime.Module.deserialize(self.engine, state["machine_code"])
        self.clock = EpochClock(self.engine)

    @property
    def info(self) -> dict[str, str | int]:
        """Return what a report says about a build: hash, size in bytes, and the software that runs it."""
        return {"sha256": self.sha256, "size": self.size, "wasmtime": version("wasmtime")}


def new_engine(**more: bool) -> Any:
    """Return a wasmtime engine with the features of a build, and more settings."""
    config = wasmtime.Config()
    for name, value in {**FEATURES, **more}.items():
        if hasattr(wasmtime.Config, name):  # an older binding does not have the newer proposals at all
            setattr(config, name, value)
    return wasmtime.Engine(config)


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
        self._store = wasmtime.Store(self.module.engine)
        self._store.set_limits(
            memory_size=self.limits.memory_bytes,
            table_elements=MAX_TABLE_ELEMENTS,
            instances=1,
            tables=MAX_TABLES,
            memories=1,
        )
        with self._lock, self._bounded("instantiation"):
            instance = wasmtime.Instance(self._store, self.module.compiled, [])
        exports = instance.exports(self._store)
        self._memory = exports["memory"]
        self._functions = {name: exports[name] for name in EXPORTS_BY_NAME}
        self._globals = {name: item for name, item in exports.items() if isinstance(item, wasmtime.Global)}

    @property
    def memory_size(self) -> int:
        """Return the size of linear memory in bytes."""
        return int(self._memory.data_len(self._store))

    def call(self, export: str, *arguments: Number) -> int | None:
        """Call an export with host numbers (ABI-3): EngineTrap, EngineLimit. None for an export without a result."""
        signature = EXPORTS_BY_NAME[export]
        types = signature.wasm_parameters
        if len(arguments) != len(types):
            raise TypeError(f"{signature.signature} takes {len(types)} arguments, {len(arguments)} were given")
        values = [_TO_WASM[kind](argument) for kind, argument in zip(types, arguments, strict=True)]
        with self._lock, self._bounded(export):
            result = self._functions[export](self._store, *values)
        return result % 2**32 if signature.result else None

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

    @contextmanager
    def _bounded(self, what: str) -> Iterator[None]:
        """Run a piece of the build with a deadline, and tell traps from limits."""
        if self._stopped:
            raise EngineLimit(self._stopped)
        left = self.limits.until - time.monotonic()
        if left <= 0:
            self._stopped = f"{what} was not run: the time of the whole run is used up"
            raise EngineLimit(self._stopped)
        seconds = min(self.limits.seconds, left)
        self._store.set_epoch_deadline(math.ceil(seconds / TICK_SECONDS) + 1)
        self.module.clock.start()
        try:
            yield
        except wasmtime.Trap as trap:
            trap.with_traceback(None)  # a frame of the binding holds it: with a traceback the instance would live on
            if trap_code(trap) == "INTERRUPT":
                spent = f"{seconds:g} seconds" if seconds == self.limits.seconds else "the time of the whole run"
                self._stopped = f"{what} was stopped after {spent}"
                raise EngineLimit(self._stopped) from trap
            raise EngineTrap(f"{what} trapped: {trap_message(trap)}{self._full()}", backtrace(trap)) from trap
        except wasmtime.WasmtimeError as error:
            error.with_traceback(None)
            raise EngineLimit(f"{what} failed within {self.limits}: {one_line(error)}") from error
        finally:
            self.module.clock.stop()

    def _full(self) -> str:
        """Say in a trap that memory is as good as full: a build that asks for too much mostly ends in one."""
        size = self.memory_size if hasattr(self, "_memory") else 0
        if 2 * size <= self.limits.memory_bytes:
            return ""
        return f" (its memory has {size} bytes; a build may have {self.limits.memory_bytes})"


class EpochClock:
    """Count time for the deadlines of one wasmtime engine, in a thread that ends when no call has run for a second."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._running = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Count while a call runs."""
        with self._lock:
            self._running += 1
            if self._thread is None or not self._thread.is_alive():  # a forked process has no threads of its parent
                self._thread = threading.Thread(target=self._tick, name="wasm-deadlines", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Say that a call is through."""
        with self._lock:
            self._running -= 1

    def _tick(self) -> None:
        """Advance by one step at a time: a late wake-up may lengthen a deadline but never shortens one."""
        idle = 0
        while True:
            time.sleep(TICK_SECONDS)
            self._engine.increment_epoch()
            with self._lock:
                idle = 0 if self._running else idle + 1
                if idle >= IDLE_TICKS:
                    self._thread = None
                    return


def _signed(value: int, bits: int) -> int:
    return value - 2**bits if value >= 2 ** (bits - 1) else value


_GLOBAL_BITS: Final = {"i32": 32, "i64": 64}

_TO_WASM: dict[WasmType, Callable[[Number], int | float]] = {
    "i32": lambda value: _signed(to_u32(value), 32),
    "i64": lambda value: _signed(to_u64(value), 64),
    "f32": lambda value: float(to_f32(value)),
}


def compile_module(engine: Any, data: bytes, limits: Limits) -> Any:
    """Compile in a thread of its own: compilation cannot be interrupted, but it can be left behind."""
    outcome: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def compile_there() -> None:
        try:
            outcome.put(wasmtime.Module(engine, data))
        except wasmtime.WasmtimeError as error:
            outcome.put(error)

    threading.Thread(target=compile_there, name="wasm-compilation", daemon=True).start()
    try:
        compiled = outcome.get(timeout=limits.seconds)
    except queue.Empty:
        raise EngineLimit(f"compilation was abandoned after {limits.seconds:g} seconds") from None
    if isinstance(compiled, wasmtime.WasmtimeError):
        raise InvalidModule(f"the module is not valid: {one_line(compiled)}") from compiled
    return compiled


def trap_code(trap: Any) -> str:
    """Return the name of a trap's code, empty for one that the binding does not know."""
    try:
        code = trap.trap_code
    except ValueError:  # a code that is newer than the binding
        return ""
    return "" if code is None else str(code.name)


def trap_message(trap: Any) -> str:
    """Return the last line of wasmtime's message: those before it repeat the backtrace."""
    return visible(_own_words(trap.message).splitlines()[-1].strip().removeprefix("wasm trap: "))


def backtrace(trap: Any) -> str:
    """Return the functions in which a trap happened, the innermost first."""
    frames = (
        f"{visible(frame.func_name or 'unnamed')} (function {frame.func_index}, offset {frame.module_offset:#x})"
        for frame in trap.frames
    )
    return ", called by ".join(frames)


def one_line(error: Exception) -> str:
    """Return the message of an error in one line that is safe to show."""
    return visible(" ".join(_own_words(str(error)).split()))


def _own_words(message: str) -> str:
    """Cut off the stack of wasmtime itself, which some versions append."""
    return message.partition("Stack backtrace:")[0].strip()
