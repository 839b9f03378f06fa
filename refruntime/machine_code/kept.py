"""Where machine code is kept: a folder in the user's cache for each state of sources, compiler and processor.

Machine code holds a copy of all that a loop calls, so that any change of a source from which loops are made asks for
another folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import llvmlite
import llvmlite.binding as llvm

from refruntime.resources import PACKAGE

SOURCES: Final = (
    "machine_code",
    "quants",
    "numerics/compiled",
    "numerics/libm",
    "numerics/ggml32",
    "containers/checksum*",
)
"""Folders of the package, with all below them, and files from which loops are made."""

FOLDERS_KEPT: Final = 8
"""Folders of other states that stay, the latest ones."""

_CHECK: Final = hashlib.sha256().digest_size


def _identity() -> Iterator[bytes]:
    """Yield all on which machine code depends. ModuleNotFoundError without numba."""
    numba = find_spec("numba")
    if numba is None or numba.origin is None:
        raise ModuleNotFoundError("No module named 'numba'", name="numba")
    version = Path(numba.origin).with_name("_version.py")
    yield (version if version.is_file() else Path(numba.origin)).read_bytes()
    settings = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_"))
    processor = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    yield repr((llvmlite.__version__, sys.implementation.cache_tag, settings, processor)).encode()
    for pattern in SOURCES:
        for place in sorted(PACKAGE.glob(pattern)):
            for path in sorted(place.rglob("*.py")) if place.is_dir() else (place,):
                yield path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes()


@lru_cache
def folder() -> Path | None:
    """Return the folder for this state, None where there is no place for it. ModuleNotFoundError without numba."""
    digest = hashlib.sha256()
    for part in _identity():
        digest.update(len(part).to_bytes(8, "little") + part)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "refruntime" / "machine-code" / digest.hexdigest()[:32]
    except RuntimeError:  # there is no home folder
        return None


def read(name: str) -> bytes | None:
    """Return machine code that is kept under a name, None where there is none or where it is damaged."""
    place = folder()
    try:
        content = b"" if place is None else (place / name).read_bytes()
    except OSError:
        return None
    code = content[_CHECK:]
    return code if code and hashlib.sha256(code).digest() == content[:_CHECK] else None


def write(name: str, code: bytes) -> None:
    """Keep machine code under a name, where that can be."""
    place = folder()
    if place is None:
        return
    try:
        if not place.is_dir():
            place.mkdir(parents=True, exist_ok=True)
            _forget_old_ones(place)
        with tempfile.NamedTemporaryFile(dir=place, delete=False) as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(file.name, place / name)
    except OSError:  # nothing can be written: compile anew in every process
        return


def _forget_old_ones(place: Path) -> None:
    others = sorted(
        (other for other in place.parent.iterdir() if other != place), key=lambda path: path.stat().st_mtime
    )
    for other in others[:-FOLDERS_KEPT]:
        shutil.rmtree(other, ignore_errors=True)
