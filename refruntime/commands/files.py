"""Files that commands read and write, and how they fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

import click

from refruntime import resources
from refruntime.atomic import whole_file, write_whole
from refruntime.contract.profile import Profile, ProfileError

Command = Callable[..., Any]


class UnreadableFile(click.ClickException):
    """A file that the user named cannot be read."""

    exit_code = 3


class ModelPath(click.Path):
    """The path of a model; one of the project's own is found by its name alone, see `resources.model_path`."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path as it was given, or that of the project's own model."""
        path = resources.model_path(Path(os.fsdecode(super().convert(value, param, ctx))))
        if path.parent == Path() and not path.exists():
            meant = get_close_matches(path.name, resources.own_models(), 1, 0.8)
            if meant:
                message = f"{path}: No such file or directory; did you mean {meant[0]}, which comes with refruntime?"
                raise UnreadableFile(message)
        return path


def path_option(*names: str, **more: Any) -> Callable[[Command], Command]:
    """Return an option that takes a path, by default that of a FILE; `names` and `more` as for `click.option`."""
    return click.option(*names, **{"metavar": "FILE", "type": click.Path(path_type=Path), **more})


def folder_option(*names: str, **more: Any) -> Callable[[Command], Command]:
    """Return an option that takes the path of a folder, which need not be there."""
    return path_option(*names, **{"metavar": "DIR", "type": click.Path(path_type=Path, file_okay=False), **more})


@contextmanager
def reachable(path: object) -> Iterator[None]:
    """Exit with code 3, and the name of the file, where the system refuses one."""
    try:
        yield
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror or error}") from error


def read_profile(path: Path | None) -> Profile:
    """Return the profile in this file, or the default one; a missing file exits with 3, an invalid profile with 2."""
    if path is None:
        return Profile()
    try:
        with reachable(path):
            return Profile.from_toml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{path}: not UTF-8 at byte {error.start}", param_hint="--profile") from error
    except ProfileError as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--profile") from error


def _profile(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Profile:
    return read_profile(value)


def profile_option(command: Command) -> Command:
    """Add `--profile FILE`; without it every switch has its default."""
    return click.option(
        "--profile",
        metavar="FILE",
        type=click.Path(path_type=Path),
        callback=_profile,
        help="Contract profile in TOML; without it every switch has its default.",
    )(command)


def read_input(path: Path, most: int = 1 << 27) -> bytes:
    """Return the bytes of a file, `-` for standard input; exit code 3 if it cannot be read or is too long."""
    with reachable(path), click.open_file(str(path), "rb") as file:
        data: bytes = file.read(most + 1)
    if len(data) > most:
        raise UnreadableFile(f"{path}: longer than {most} bytes")
    return data


def write_file(path: Path, data: bytes) -> None:
    """Write a file that the user named, complete or not at all; exit code 3 if that is not possible."""
    with reachable(path):
        write_whole(path, data)


def save(path: Path, write: Callable[[IO[bytes]], None], model: Path) -> None:
    """Write a file under exactly this name, complete or not at all; never over the model that was read.

    A usage error (2) for the model itself and for what is no file, such as a device; 3 for what the system refuses.
    """
    with reachable(path):
        if path.exists() and not path.is_dir():
            if path.samefile(model):
                raise click.BadParameter(f"{path} is the model itself", param_hint="--save")
            if not path.is_file():
                raise click.BadParameter(f"{path} is not a regular file", param_hint="--save")
        with whole_file(path) as file:
            write(file)
