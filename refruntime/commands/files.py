"""Files that commands read and write, and how they fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import click

from refruntime.contract.profile import Profile, ProfileError


class UnreadableFile(click.ClickException):
    """A file that the user named cannot be read."""

    exit_code = 3


def read_profile(path: Path | None) -> Profile:
    """Return the profile in this file, or the default one; a missing file exits with 3, an invalid profile with 2."""
    if path is None:
        return Profile()
    try:
        return Profile.from_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{path}: not UTF-8 at byte {error.start}", param_hint="--profile") from error
    except ProfileError as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--profile") from error


def save(path: Path, write: Callable[[BinaryIO], None], model: Path) -> None:
    """Write a file under exactly this name, complete or not at all; never over the model that was read.

    A usage error (2) for the model itself and for what is no file, such as a device; 3 for what the system refuses.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        if path.exists() and not path.is_dir():
            if path.samefile(model):
                raise click.BadParameter(f"{path} is the model itself", param_hint="--save")
            if not path.is_file():
                raise click.BadParameter(f"{path} is not a regular file", param_hint="--save")
        try:
            with partial.open("wb") as file:
                write(file)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror or error}") from error
