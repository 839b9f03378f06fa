"""A careful host of the exports for tests: it allocates, copies in, calls, frees and copies out."""

from __future__ import annotations

import json
from typing import Any

from refruntime import Profile
from refruntime.exports import ExportedABI


class Host:
    """Drive one `ExportedABI`; every method is a handful of exports."""

    def __init__(self, profile: Profile | None = None, *, strict: bool = True, model: bytes = b"") -> None:
        self.abi = ExportedABI(profile, strict=strict)
        if model:
            assert self.load(model) == 0, self.abi.last_failure

    def put(self, data: bytes) -> int:
        """Return the pointer of a copy of `data` in memory."""
        pointer = self.abi.alloc(len(data))
        assert pointer
        self.abi.write(pointer, data)
        return pointer

    def load(self, model: bytes) -> int:
        """Return the status of `load_model`; the transfer buffer is freed right after it (MEM-9)."""
        pointer = self.put(model)
        status = self.abi.load_model(pointer, len(model))
        self.abi.dealloc(pointer, len(model))
        return status

    def generate(self, prompt: bytes, max_new_tokens: int) -> int:
        """Return the status of `generate`."""
        pointer = self.put(prompt)
        status = self.abi.generate(pointer, len(prompt), max_new_tokens)
        self.abi.dealloc(pointer, len(prompt))
        return status

    @property
    def result(self) -> bytes:
        """Return the bytes of the last result."""
        return self.abi.read(self.abi.last_result_ptr(), self.abi.last_result_len())

    @property
    def document(self) -> bytes:
        """Return the bytes of the diagnostics document."""
        return self.abi.read(self.abi.get_diagnostics_ptr(), self.abi.get_diagnostics_len())

    @property
    def diagnostics(self) -> dict[str, Any]:
        """Return the parsed diagnostics document."""
        document: dict[str, Any] = json.loads(self.document)
        return document
