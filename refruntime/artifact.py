"""Bytes of a model: those that a caller has, or a file that is mapped into memory."""

from __future__ import annotations

import mmap
from os import PathLike
from pathlib import Path

from refruntime.model.load import Buffer
from refruntime.resources import model_path

Artifact = str | PathLike[str] | Buffer


def artifact_bytes(path_or_bytes: Artifact) -> Buffer:
    """Return a view of the bytes; a path is mapped into memory, the project's own models have names. OSError."""
    if isinstance(path_or_bytes, bytes | bytearray | memoryview):
        return path_or_bytes
    with model_path(Path(path_or_bytes)).open("rb") as file:
        if file.seek(0, 2) == 0:
            return b""  # an empty file cannot be mapped
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
