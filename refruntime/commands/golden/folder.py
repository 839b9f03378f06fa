"""Where the goldens lie, for every command that reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from refruntime import resources


def golden_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--golden DIR`; by default the project's own goldens, wherever the package is installed."""
    return _option(resources.golden_folder, "the project's own")(command)


def edited_golden_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--golden DIR` to a command that may write goldens; the default depends on that: see `edited_folder`."""
    return _option(None, "those of the checkout")(command)


def _option(default: Callable[[], Path] | None, shown: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    kind = click.Path(path_type=Path, file_okay=False, exists=True)
    return click.option(
        "--golden", metavar="DIR", type=kind, default=default, show_default=shown, help="Folder of goldens."
    )


def edited_folder() -> Path:
    """Return the goldens that may be written where none are named: those of a checkout, else a usage error."""
    folder = resources.checkout_golden_folder()
    if folder is None:
        raise click.UsageError(
            "this refruntime is an installed package, whose goldens are not to be changed; name a folder: --golden DIR"
        )
    return folder
