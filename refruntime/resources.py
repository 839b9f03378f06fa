"""Where the project's goldens and models lie: in a checkout, or in the package data of an installed package.

This is the only module that knows. They stay in one folder of the repository and are copied into the wheel when it is
built, so a checkout and an installed package read the same bytes.
"""

from __future__ import annotations

import errno
import hashlib
import tomllib
from functools import cache
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).resolve().parent
CHECKOUT: Final = PACKAGE.parent
INSTALLED: Final = PACKAGE / "data" / "golden"
"""Where a wheel has them; a checkout has no such folder."""

TRAINED: Final = "stories*"
"""The models that speak; the others were made for single goldens."""

MODEL_SUFFIXES: Final = (".slm1", ".slm", ".gguf")
"""File names of models."""

DEMO: Final = "stories.q8_0.slm1"


def golden_folder() -> Path:
    """Return the folder of the project's own goldens. FileNotFoundError where neither place has it."""
    for folder in (INSTALLED, CHECKOUT / "golden"):
        if (folder / "INDEX.json").is_file():
            return folder
    reason = "the goldens and models that belong to refruntime are not there; install the package again"
    raise FileNotFoundError(errno.ENOENT, reason, str(INSTALLED))


def checkout_golden_folder() -> Path | None:
    """Return the folder of goldens in which people work; None for an installed package, whose goldens nobody edits."""
    folder = golden_folder()
    return None if folder == INSTALLED else folder


def demo_model() -> Path:
    """Return the model of the demonstration. FileNotFoundError."""
    return golden_folder() / "models" / DEMO


def own_model(name: str) -> Path | None:
    """Return the project's own model of this file name, None where there is none."""
    return own_models().get(name)


def own_models() -> dict[str, Path]:
    """Return the project's own models by file name; none where they are not there."""
    try:
        folder = golden_folder() / "models"
    except FileNotFoundError:
        return {}
    return {path.name: path for path in folder.iterdir() if path.suffix in MODEL_SUFFIXES}


def model_path(path: Path) -> Path:
    """Return the path of a model as it was given; where nothing is, NAME and golden/models/NAME are the project's own.

    So the commands of the documents run with an installed package too, which has no checkout around it.
    """
    if path.exists() or path.parent not in (Path(), Path("golden/models")):
        return path
    return own_model(path.name) or path


def trained_models() -> tuple[Path, ...]:
    """Return the trained models in the order of their names. FileNotFoundError, never fewer without a word."""
    folder = golden_folder() / "models"
    found = tuple(sorted(path for path in folder.glob(TRAINED) if path.suffix in MODEL_SUFFIXES))
    if not found:
        reason = "the trained models that belong to refruntime are not there; install the package again"
        raise FileNotFoundError(errno.ENOENT, reason, str(folder / TRAINED))
    return found


def trained_artifacts() -> dict[str, bytes]:
    """Return the bytes of the trained models by file name. OSError."""
    return {path.name: path.read_bytes() for path in trained_models()}


def second_opinion() -> Path | None:
    """Return the independent build that a checkout names in its pyproject.toml; None where there is no checkout."""
    if checkout_golden_folder() is None:
        return None
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    return CHECKOUT / str(settings["tool"]["refruntime"]["second-opinion"])


@cache
def sources_hash(package: Path = PACKAGE) -> str:
    """Return the SHA-256 of all modules and tables of a package, as hex; other sources are other results."""
    whole = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in (".py", ".toml"):
            whole.update(path.relative_to(package).as_posix().encode() + b"\0")
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
