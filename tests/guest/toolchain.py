"""Find the compiler and the linker of the guest, and run them. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TARGET = "wasm32-unknown-unknown"


class BuildError(Exception):
    """A tool is missing, a switch is wrong, or a tool failed."""


@dataclass(frozen=True)
class Toolchain:
    """A compiler with the wasm target, and a linker."""

    rustc: str
    linker: tuple[str, ...]
    version: str


def _output_of(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _has_target(rustc: str) -> bool:
    library = _output_of([rustc, "--print", "target-libdir", "--target", TARGET])
    return library is not None and any(Path(library).glob("libstd-*.rlib"))


def find_toolchain() -> Toolchain:
    """Find the first rustc with the wasm target ($RUSTC, /usr/bin, PATH) and a linker ($WASM_LD, wasm-ld, rust-lld).

    Raises BuildError when either is missing.
    """
    wanted = os.environ.get("RUSTC")
    candidates = [wanted] if wanted else ["/usr/bin/rustc", "rustc"]
    rustc = next((name for name in candidates if _has_target(name)), None)
    if rustc is None:
        raise BuildError(f"no rustc with the {TARGET} target among: {', '.join(candidates)} (set RUSTC)")
    version = _output_of([rustc, "--version"]) or "unknown"
    return Toolchain(rustc, _find_linker(rustc), version)


def _find_linker(rustc: str) -> tuple[str, ...]:
    named = os.environ.get("WASM_LD")
    if named:
        return (named,)
    # A compiler's own linker fits it best; Debian keeps it on PATH instead.
    sysroot = Path(_output_of([rustc, "--print", "sysroot"]) or "/nonexistent")
    own = sorted(sysroot.glob("lib/rustlib/*/bin/rust-lld"))
    if own:
        return (str(own[0]), "-flavor", "wasm")
    for name, flavor in (("wasm-ld", ()), ("rust-lld", ("-flavor", "wasm"))):
        path = shutil.which(name)
        if path is not None:
            return (path, *flavor)
    raise BuildError("no WebAssembly linker: install lld (wasm-ld) or set WASM_LD")


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a tool and show what it complains about; raises BuildError."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise BuildError(f"{Path(command[0]).name} failed:\n{done.stderr.strip()}")
    if done.stderr.strip():
        print(done.stderr.strip(), file=sys.stderr)
