"""Compile a WebAssembly build with wasmtime, and count the time of its calls.

NaN canonicalisation stays off: it costs speed, and no bit of a NaN is ever compared (DG-7).
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from importlib.metadata import version
from typing import Any, Final

from refruntime.engines.base import (
    EngineLimit,
    InterfaceMismatch,
    InvalidModule,
    Limits,
    refusing_malformed,
)
from refruntime.engines.interface import interface_problems, read_surface
from refruntime.engines.wasm.binding import wasmtime
from refruntime.engines.wasm.messages import one_line
from refruntime.instrument.reader import check_header

MAX_MODULE_BYTES: Final = 16 * 2**20
MAX_MACHINE_CODE_BYTES: Final = 16 * 2**20
"""What is kept of modules compiled before, so that the same build is not compiled twice in one process."""
STACK_BYTES: Final = 2**19
MAX_TABLE_ELEMENTS: Final = 2**20
MAX_TABLES: Final = 16
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
        self.compiled = _compiled(self.engine, self.sha256, bytes(data), limits or Limits())
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


_MACHINE_CODE: dict[str, bytes] = {}  # by the hash of the module, the oldest use first
_MACHINE_CODE_LOCK: Final = threading.Lock()


def _compiled(engine: Any, sha256: str, data: bytes, limits: Limits) -> Any:
    """Compile for an engine with the features of a build, or take what this process compiled before."""
    with _MACHINE_CODE_LOCK:
        known = _MACHINE_CODE.pop(sha256, None)
    compiled = compile_module(engine, data, limits) if known is None else wasmtime.Module.deserialize(engine, known)
    with _MACHINE_CODE_LOCK:
        _MACHINE_CODE[sha256] = bytes(compiled.serialize()) if known is None else known
        while len(_MACHINE_CODE) > 1 and sum(map(len, _MACHINE_CODE.values())) > MAX_MACHINE_CODE_BYTES:
            del _MACHINE_CODE[next(iter(_MACHINE_CODE))]
    return compiled


def new_engine(**more: bool) -> Any:
    """Return a wasmtime engine with the features of a build, and more settings."""
    config = wasmtime.Config()
    for name, value in {**FEATURES, **more}.items():
        if hasattr(wasmtime.Config, name):  # an older binding does not have the newer proposals at all
            setattr(config, name, value)
    return wasmtime.Engine(config)


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


def limited_store(engine: Any, limits: Limits) -> Any:
    """Return a store for one instance, with one memory."""
    store = wasmtime.Store(engine)
    store.set_limits(
        memory_size=limits.memory_bytes,
        table_elements=MAX_TABLE_ELEMENTS,
        instances=1,
        tables=MAX_TABLES,
        memories=1,
    )
    return store
