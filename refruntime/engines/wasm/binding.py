"""Import wasmtime, or say what to do where that fails; `c_interface` is its C interface, which has no public name."""

from __future__ import annotations

from refruntime.engines.base import EngineMissing

try:
    import wasmtime as wasmtime
    from wasmtime import _bindings as c_interface
except ModuleNotFoundError as error:
    raise EngineMissing("wasmtime is not installed: pip install 'refruntime[wasm]'", name="wasmtime") from error
except (ImportError, OSError, RuntimeError) as error:  # its native library does not exist for this machine
    raise EngineMissing(f"wasmtime is installed but cannot be loaded: {error}", name="wasmtime") from error

__all__ = ["c_interface", "wasmtime"]
