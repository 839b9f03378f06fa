"""A host that calls one instance of a module with plain numbers, whatever else the module exports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import wasmtime

U32 = 0xFFFF_FFFF


@lru_cache(4)
def _compiled(_: str, module: Path) -> tuple[wasmtime.Engine, wasmtime.Module]:
    """Compile a module once for all of its instances; the first argument is the hash of what lies there now."""
    engine = wasmtime.Engine()
    return engine, wasmtime.Module.from_file(engine, str(module))


class Host:
    """One instance of a module, called with plain numbers."""

    def __init__(self, module: Path) -> None:
        engine, compiled = _compiled(hashlib.sha256(module.read_bytes()).hexdigest(), module)
        self.store = wasmtime.Store(engine)
        self.exports = wasmtime.Instance(self.store, compiled, []).exports(self.store)

    def call(self, name: str, *numbers: float) -> int:
        answer = self.exports[name](self.store, *numbers)
        return 0 if answer is None else int(answer) & U32

    def with_bytes(self, data: bytes, use: Callable[[int], int]) -> int:
        pointer = self.call("alloc", len(data))
        assert pointer != 0
        self.exports["memory"].write(self.store, data, pointer)
        status = use(pointer)
        self.call("dealloc", pointer, len(data))
        return status

    def load(self, model: bytes) -> int:
        return self.with_bytes(model, lambda pointer: self.call("load_model", pointer, len(model)))

    def generate(self, prompt: bytes, count: int) -> int:
        return self.with_bytes(prompt, lambda pointer: self.call("generate", pointer, len(prompt), count))

    def read(self, pointer_name: str, length_name: str) -> bytes:
        pointer, length = self.call(pointer_name), self.call(length_name)
        return bytes(self.exports["memory"].read(self.store, pointer, pointer + length))

    def result(self) -> bytes:
        return self.read("last_result_ptr", "last_result_len")

    def diagnostics(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.read("get_diagnostics_ptr", "get_diagnostics_len"))
        return document
