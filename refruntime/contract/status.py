"""Name the status codes that the ABI returns."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Return code of every status export (contract section 2); `message` is its fixed text (ERR-3)."""

    Ok = 0
    NullPointer = 1
    InvalidLength = 2
    InvalidUtf8 = 3
    InvalidModelMagic = 4
    UnsupportedModelVersion = 5
    InvalidHeader = 6
    InvalidTensorDirectory = 7
    MissingTensor = 8
    ShapeMismatch = 9
    UnsupportedDType = 10
    ContextExceeded = 11
    ModelNotLoaded = 12
    GenerationFailed = 13
    OutputBufferExceeded = 14

    @property
    def message(self) -> str:
        """Return the fixed text of this code (ERR-3); the empty string for Ok."""
        return _MESSAGES[self]


_MESSAGES: dict[Status, str] = {
    Status.Ok: "",
    Status.NullPointer: "null pointer",
    Status.InvalidLength: "invalid length",
    Status.InvalidUtf8: "invalid utf-8",
    Status.InvalidModelMagic: "invalid model magic",
    Status.UnsupportedModelVersion: "unsupported model version",
    Status.InvalidHeader: "invalid header",
    Status.InvalidTensorDirectory: "invalid tensor directory",
    Status.MissingTensor: "missing tensor",
    Status.ShapeMismatch: "shape mismatch",
    Status.UnsupportedDType: "unsupported dtype",
    Status.ContextExceeded: "context exceeded",
    Status.ModelNotLoaded: "model not loaded",
    Status.GenerationFailed: "generation failed",
    Status.OutputBufferExceeded: "output buffer exceeded",
}
