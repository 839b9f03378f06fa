"""A host that calls one instance of a module with plain numbers, whatever else the module exports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wasmtime

U32 = 0xFFFF_FFFF


class Host:
    """One instance of a module, called with plain numbers."""

    def __init__(self, module: Path) -> None:
        engine = wasmtime.Engine()
        self.store = wasmtime.Store(engine)
        self.exports = wasmtime.Instance(self.store, wasmtime.Module.from_file(engine, str(module)), []).exports(
            self.store
        )

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
