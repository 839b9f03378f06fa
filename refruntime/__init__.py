"""A reference runtime for TinyRustLM: the 13 WebAssembly exports answered exactly, in Python and NumPy.

The names below load their module when they are first used, so that `import refruntime` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from refruntime import display

if TYPE_CHECKING:
    from refruntime.api import Generation, Model, open_model, open_tokenizer
    from refruntime.contract import Profile, Status
    from refruntime.embeddings import EncoderModel, open_encoder
    from refruntime.errors import ContractError
    from refruntime.exports import ExportedABI
    from refruntime.memory import HostMisuse, Trap
    from refruntime.session.session import Session

__version__ = "0.1.0"

__all__ = [
    "ContractError",
    "EncoderModel",
    "ExportedABI",
    "Generation",
    "HostMisuse",
    "Model",
    "Profile",
    "Session",
    "Status",
    "Trap",
    "__version__",
    "open_encoder",
    "open_model",
    "open_tokenizer",
]

_HOMES = {
    "ContractError": "refruntime.errors",
    "EncoderModel": "refruntime.embeddings",
    "ExportedABI": "refruntime.exports",
    "Generation": "refruntime.api",
    "HostMisuse": "refruntime.memory",
    "Model": "refruntime.api",
    "Profile": "refruntime.contract",
    "Session": "refruntime.session.session",
    "Status": "refruntime.contract",
    "Trap": "refruntime.memory",
    "open_encoder": "refruntime.embeddings",
    "open_model": "refruntime.api",
    "open_tokenizer": "refruntime.api",
}

# Loaded when a value is shown for the first time: values know no renderer, and the package knows both.
display.rendered_by(lambda: cast("display.Renderer", import_module("refruntime.show.notebook")))


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
