"""Compile a build for a command, and refuse what is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from refruntime.commands.diff.report import refuse
from refruntime.commands.files import reachable
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.differential.verdict import EXIT_MISMATCH
from refruntime.engines.base import Engine, EngineError, EngineMissing, InterfaceMismatch, InterfaceProblem, Limits
from refruntime.foreign import HEAD, foreign
from refruntime.instrument.reader import MalformedModule, check_header


class Engines:
    """The compiled build, and what a report says of the software that runs it."""

    def __init__(self, module: bytes, limits: Limits) -> None:
        from refruntime.engines.wasm import WasmEngine, WasmModule

        compiled = WasmModule(module, limits)
        self.facts = {"wasmtime": str(compiled.info["wasmtime"]), "bytes": str(compiled.info["size"])}
        self.fresh: Callable[[], Engine] = partial(WasmEngine, compiled, limits)


def read_build(path: Path, as_json: bool) -> bytes:
    """Return the bytes of a build; exit code 3 for no file, 2 for what is no module, of which no more is read."""
    with reachable(path), path.open("rb") as file:
        head = file.read(HEAD)
        try:
            check_header(head)
        except MalformedModule as error:
            known = foreign(head)
            refuse(2, f"{path.name}: {error}{known and f'; it is {known}'}", as_json)
        return head + file.read()


def engines_of(name: str, module: bytes, limits: Limits, as_json: bool) -> Engines:
    """Compile the build `name`; it exits as `refuse_build` does where that is not possible."""
    try:
        return Engines(module, limits)
    except EngineError as error:
        refuse_build(name, error, as_json)


def refuse_build(name: str, error: EngineError, as_json: bool) -> NoReturn:
    """Say why a build is none and exit: 3 without wasmtime, 1 with another surface, 2 for what cannot be run."""
    if isinstance(error, EngineMissing):
        refuse(3, str(error), as_json)
    if isinstance(error, InterfaceMismatch):
        message = f"the surface of {name} differs (ABI-1, ABI-2): {error}"
        refuse(EXIT_MISMATCH, message, as_json, problems=error.problems, advice=_advice(error.problems))
    refuse(2, f"{name}: {error}", as_json)


def _advice(problems: Sequence[InterfaceProblem]) -> str:
    """Return what to do about a module that has none of the exports; another one is told by its problems."""
    if not EXPORTS_BY_NAME.keys() <= {problem.name for problem in problems if problem.kind == "missing"}:
        return ""
    return (
        'none of the exports is there: a Rust crate exports what is `#[unsafe(no_mangle)] pub extern "C" fn`, '
        "in a library of the type cdylib"
    )
