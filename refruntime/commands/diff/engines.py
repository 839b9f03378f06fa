"""Compile a build for a command, and refuse what is none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from refruntime.commands.diff.report import refuse
from refruntime.differential.verdict import EXIT_MISMATCH
from refruntime.engines.base import Engine, EngineError, EngineMissing, InterfaceMismatch, Limits


class Engines:
    """The compiled build, and what a report says of the software that runs it."""

    def __init__(self, module: bytes, limits: Limits) -> None:
        from refruntime.engines.wasm import WasmEngine, WasmModule

        compiled = WasmModule(module, limits)
        self.facts = {"wasmtime": str(compiled.info["wasmtime"]), "bytes": str(compiled.info["size"])}
        self.fresh: Callable[[], Engine] = partial(WasmEngine, compiled, limits)


def engines_of(module: bytes, limits: Limits, as_json: bool) -> Engines:
    """Compile the build: exit code 3 without wasmtime, 1 for a module with another surface, 2 for none at all."""
    try:
        return Engines(module, limits)
    except EngineMissing as error:
        refuse(3, str(error), as_json)
    except InterfaceMismatch as error:
        refuse(EXIT_MISMATCH, f"the surface differs (ABI-1, ABI-2): {error}", as_json, problems=error.problems)
    except EngineError as error:
        refuse(2, str(error), as_json)
