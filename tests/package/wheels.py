"""Build sdist and wheel from the files that git tracks, and run commands with nothing but the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.meta.test_house import PROJECT, TRACKED

INSTALLED = "REFRUNTIME_INSTALLED_PYTHON"
"""The interpreter of an environment where the wheel is installed; `make test-package` sets it."""


def copy_of_the_project(folder: Path, seconds: int) -> Path:
    """Write what git tracks into a folder, with other dates and permissions than the checkout has."""
    for path in TRACKED:
        copy = folder / path.relative_to(PROJECT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        copy.chmod(0o600 if seconds % 2 else 0o664)
        os.utime(copy, (seconds, seconds))
    return folder


def built(project: Path, kind: str, folder: Path) -> Path:
    """Build a `wheel` or an `sdist` of the project in a folder of its own, without an index."""
    command = [sys.executable, "-m", "hatchling", "build", "--clean", "--target", kind, "--directory", str(folder)]
    shown = subprocess.run(command, cwd=project, env=plain_environment(), capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    (path,) = folder.iterdir()
    return path


def plain_environment() -> dict[str, str]:
    """Return the environment without what would change a build or let a command find the checkout."""
    unwanted = ("PYTHONPATH", "SOURCE_DATE_EPOCH", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "FORCE_COLOR")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return kept | {"COLUMNS": "150", "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Installed:
    """A wheel that an interpreter finds before anything else, used from an empty folder."""

    python: str
    folder: Path
    unpacked: Path | None

    def run(self, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` there."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def command(self, *arguments: object) -> list[str]:
        """Return the words that run `python ARGUMENTS`."""
        return [self.python, *map(str, arguments)]

    def environment(self) -> dict[str, str]:
        """Return the environment in which the wheel is found, and no checkout."""
        return plain_environment() | ({} if self.unpacked is None else {"PYTHONPATH": str(self.unpacked)})


def installed(wheel: Path, folder: Path) -> Installed:
    """Return the wheel as `make test-package` installed it, else unpacked, which is all that a pure wheel needs."""
    (folder / "empty").mkdir()
    python = os.environ.get(INSTALLED)
    if python is not None:
        return Installed(python, folder / "empty", None)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return Installed(sys.executable, folder / "empty", folder / "site")
