"""Files that commands read, and how they fail."""

from __future__ import annotations

from pathlib import Path

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
