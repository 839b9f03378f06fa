"""Where the goldens lie, for every command that reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

GOLDEN: Final = Path(__file__).resolve().parents[3] / "golden"
"""The goldens beside the package in a checkout."""


def golden_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--golden DIR`; by default the folder of a checkout, else `golden` where the command runs."""
    return click.option(
        "--golden",
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        default=lambda: GOLDEN if GOLDEN.is_dir() else Path("golden"),
        show_default="golden beside the package",
        help="Folder of goldens.",
    )(command)
