"""Files that are no model and no module but often come in the place of one, by their first bytes."""

from __future__ import annotations

import re
from typing import Final

HEAD: Final = 64
"""Bytes that are enough to know each of them."""

_KINDS: Final = (
    (rb"\Z", "an empty file"),
    (rb"version https://git-lfs", "a pointer of Git LFS: `git lfs pull` puts the file itself in its place"),
    (rb"\s*<(?i:!doctype|html)", "a page of HTML: the download answered with a page"),
    (rb"SLM1", "an SLM1 model"),
    (rb"GGUF", "a GGUF model"),
    (rb"\0asm\x0d\0\x01\0", "a WebAssembly component: a core module is needed, as wasm32-unknown-unknown gives it"),
    (rb"\0asm", "a WebAssembly module"),
    (rb"\s*\(\s*module\b", "WebAssembly text: `wat2wasm` makes a module of it"),
    (rb"PK\x03\x04", "a zip archive, as PyTorch writes its weights: llama.cpp's converter makes GGUF of the model"),
    (rb"(?s:.{5})\0\0\0\{", "safetensors: llama.cpp's converter makes GGUF of the model that it belongs to"),
    (rb"\x1f\x8b|\x28\xb5\x2f\xfd|BZh|\xfd7zXZ", "compressed: unpack it first"),
    (rb"tjgg|fmgg|lmgg|algg", "a model of llama.cpp before GGUF: convert its source again"),
)


def foreign(head: bytes) -> str:
    """Return what a file is that begins with these bytes, and what to do; empty where nothing is known of them."""
    return next((told for pattern, told in _KINDS if re.match(pattern, head[:HEAD])), "")
