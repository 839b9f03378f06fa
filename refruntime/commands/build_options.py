"""Options of the commands that call a build or compute its oracle."""

from __future__ import annotations

from collections.abc import Callable

import click

from refruntime.commands.files import Command, path_option
from refruntime.numerics import KERNELS


def timeout_option(seconds: float, stretch: str = "") -> Callable[[Command], Command]:
    """Add `--timeout`, by default so many seconds; `stretch` is what it limits besides a call."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=seconds,
        show_default=True,
        help=f"Seconds after which a call of the build{stretch} is stopped.",
    )


def build_profile_option(command: Command) -> Command:
    """Add `--profile FILE` for a build, which may declare one itself."""
    return path_option(
        "--profile",
        "profile_path",
        help="Contract profile in TOML; without it what the build declares, else the default.",
    )(command)


def say_if_pauses_are_slow() -> None:
    """Say on stderr, before a long wait, that this wasmtime has to run a build anew for every pause."""
    from refruntime.engines.wasm.pauses import HAS_YIELDS

    if not HAS_YIELDS:
        click.echo(
            "this wasmtime cannot stop a call and go on: the build is loaded and run again for each of thousands of "
            "pauses, which takes minutes for a small model and hours for a large one; wasmtime 30 and later can",
            err=True,
        )


def kernels_option(command: Command) -> Command:
    """Add `--kernels`."""
    return click.option(
        "--kernels",
        type=click.Choice(KERNELS),
        default="auto",
        show_default=True,
        help="What computes the oracle's numbers; it never changes a bit.",
    )(command)
