"""Build libm_probe.rs for wasm32-unknown-unknown and run its functions on arrays, under wasmtime."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import wasmtime
from numpy.typing import NDArray

TARGET = "wasm32-unknown-unknown"
SOURCE = Path(__file__).resolve().parent / "libm_probe.rs"
UNARY_FUNCTIONS = ("expf", "sinf", "cosf", "tanhf")
CHUNK = 1 << 20  # elements per call into the module


class ToolchainMissingError(RuntimeError):
    """No Rust compiler with the standard library for wasm32-unknown-unknown was found."""


def find_compiler() -> Path:
    """Return the first rustc, of $RUSTC and those on PATH, that has the target's standard library."""
    candidates = [os.environ["RUSTC"]] if "RUSTC" in os.environ else []
    candidates += [str(Path(folder) / "rustc") for folder in os.get_exec_path()]
    for candidate in candidates:
        compiler = shutil.which(candidate)
        if compiler is None:
            continue
        answer = subprocess.run(
            [compiler, "--print", "target-libdir", "--target", TARGET], capture_output=True, text=True, check=False
        )
        library_folder = Path(answer.stdout.strip())
        if answer.returncode == 0 and any(library_folder.glob("libstd-*.rlib")):
            return Path(compiler)
    raise ToolchainMissingError(
        f"no rustc with the {TARGET} standard library on PATH or in $RUSTC "
        "(Debian: rustc, libstd-rust-dev-wasm32 and lld; rustup: rustup target add wasm32-unknown-unknown)"
    )


def compiler_version(compiler: Path) -> str:
    """Return rustc's one-line version."""
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def build(compiler: Path, output: Path) -> None:
    """Compile the probe, optimised."""
    command = [compiler, "--target", TARGET, "--edition", "2021", "-O", "-C", "panic=abort", "-C", "strip=symbols"]
    subprocess.run([*command, "--crate-type", "cdylib", "-o", output, SOURCE], check=True)


class WasmLibm:
    """The probe, instantiated: `libm("expf", x)` and `libm("powf", x, y)` for one-dimensional float32 arrays."""

    def __init__(self, module_path: Path) -> None:
        self._store = wasmtime.Store()
        module = wasmtime.Module.from_file(self._store.engine, str(module_path))
        self._exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._addresses = [self._exports["reserve"](self._store, 4 * CHUNK) for _ in range(3)]

    def __call__(self, function: str, *arguments: NDArray[np.float32]) -> NDArray[np.float32]:
        memory = self._exports["memory"]
        export = self._exports[f"apply_{function}"]
        *sources, target = self._addresses[: len(arguments) + 1]
        result = np.empty_like(arguments[0])
        for start in range(0, result.size, CHUNK):
            chunks = [argument[start : start + CHUNK] for argument in arguments]
            count = chunks[0].size
            for chunk, address in zip(chunks, sources, strict=True):
                memory.write(self._store, chunk.astype("<f4").tobytes(), address)
            export(self._store, *sources, target, count)
            data = memory.read(self._store, target, target + 4 * count)
            result[start : start + count] = np.frombuffer(data, dtype="<f4")
        return result


def differing(expected: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mark the elements that differ in a bit. Any NaN equals any other: WASM leaves the payload open."""
    both_nan = np.isnan(expected) & np.isnan(found)
    return (expected.view(np.uint32) != found.view(np.uint32)) & ~both_nan
