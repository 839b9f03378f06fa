"""The caller's side of the ABI over any engine: put bytes, call, read, free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from refruntime.contract.limits import MAX_RESULT_BYTES
from refruntime.contract.status import Status
from refruntime.engines.base import Engine, EngineError, EngineLimit, Number

MAX_RESULT_READ: Final = 2 * MAX_RESULT_BYTES
"""Longest result that is copied out: beyond GEN-10, so that a build with a somewhat larger cap is compared."""

MAX_DOCUMENT_READ: Final = 2**18
"""Longest diagnostics document that is copied out: the ids of a prompt of 32,000 tokens and all other fields (DG-6)."""


class TransferFailed(EngineError):
    """`alloc` returned 0 for a length that the contract allows (MEM-1)."""


class TextTooLong(EngineError):
    """The engine claims a result or diagnostics document that is too long to be one."""


class Client:
    """Use the exports as a careful host does. Every transfer buffer is freed, also when a call fails.

    After an EngineLimit nothing is freed: the engine was stopped in the middle of something and takes no more calls.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def status(self, export: str, *arguments: Number) -> int:
        """Call a status export and return the raw code, known or not."""
        result = self.engine.call(export, *arguments)
        if result is None:
            raise EngineError(f"{export} returned nothing")
        return result

    def load_model(self, data: bytes) -> int:
        """Transfer an artifact and load it (MEM-9): a status. Empty data goes as pointer 1 and length 0: status 2."""
        with self._transferred(data) as pointer:
            return self.status("load_model", pointer, len(data))

    def generate(self, prompt: bytes, max_new_tokens: int) -> int:
        """Transfer a prompt and generate: a status. An empty prompt goes as pointer 1 and length 0: status 2."""
        with self._transferred(prompt) as pointer:
            return self.status("generate", pointer, len(prompt), max_new_tokens)

    def set_sampling_config(self, temperature: float, top_k: int, top_p: float, seed: int) -> int:
        """Set the sampling configuration: a status."""
        return self.status("set_sampling_config", temperature, top_k, top_p, seed)

    def result(self) -> bytes:
        """Read the result text of the last call (MEM-7): MemoryFault, TextTooLong."""
        return self._text("last_result_ptr", "last_result_len", MAX_RESULT_READ)

    def diagnostics(self) -> bytes:
        """Read the diagnostics document (DG-2): MemoryFault, TextTooLong."""
        return self._text("get_diagnostics_ptr", "get_diagnostics_len", MAX_DOCUMENT_READ)

    def check(self, status: int) -> None:
        """Raise RuntimeError with the name of a status that is not Ok; for callers that expect success."""
        if status != Status.Ok:
            raise RuntimeError(f"status {status}: {self.result().decode('utf-8', 'replace')}")

    def _text(self, pointer_export: str, length_export: str, most: int) -> bytes:
        pointer, length = self.status(pointer_export), self.status(length_export)
        if not pointer:
            return b""
        if length > most:
            rule = f"; GEN-10 allows {MAX_RESULT_BYTES}" if length_export == "last_result_len" else ""
            raise TextTooLong(f"{length_export} returned {length}; at most {most} bytes are read{rule}")
        return self.engine.read(pointer, length)

    @contextmanager
    def _transferred(self, data: bytes) -> Iterator[int]:
        """Put bytes into a fresh buffer and free it afterwards (MEM-3)."""
        if not data:
            yield 1  # alloc(0) gives 0, which would be a null pointer; any other pointer shows the length rule
            return
        pointer = self.status("alloc", len(data))
        if pointer == 0:
            raise TransferFailed(f"alloc({len(data)}) returned 0; memory has {self.engine.memory_size} bytes")
        try:
            self.engine.write(pointer, data)
            yield pointer
        except EngineLimit:
            raise
        except BaseException:
            with suppress(EngineError):  # what went wrong first is what the caller must hear
                self.engine.call("dealloc", pointer, len(data))
            raise
        self.engine.call("dealloc", pointer, len(data))
