"""`refruntime repl --logits`: the sampler alone, on logits that another runtime wrote to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from refruntime.api import open_tokenizer
from refruntime.commands.files import Command, path_option, reachable
from refruntime.commands.shared import map_file
from refruntime.contract.profile import Profile

if TYPE_CHECKING:
    from refruntime.repl.node import Node


def logits_options(command: Command) -> Command:
    """Add `--logits` and `--tokenizer`."""
    command = path_option(
        "--tokenizer", metavar="MODEL", help="With --logits: the model whose tokens these are, for their texts."
    )(command)
    return path_option(
        "--logits", help="Instead of MODEL: logits [V] or [steps, V] of another runtime, .npy or .json."
    )(command)


def check_logits_options(logits: Path | None, tokenizer: Path | None, others: Mapping[str, object]) -> None:
    """Refuse options that do not go together: a usage error."""
    if logits is None:
        if tokenizer is not None:
            raise click.UsageError("--tokenizer belongs to --logits.")
        return
    for name, value in others.items():
        if value is not None:
            raise click.UsageError(f"--logits goes without {name}.")


def imported_place(logits: Path, tokenizer: Path | None, profile: Profile) -> Node:
    """Return where a session over the logits of a file begins; exits with 3 for a missing file, 2 for a bad one."""
    from refruntime.repl.node import Node
    from refruntime.session.logits_session import ImportedSession, read_logits
    from refruntime.session.state import SessionError

    known = None if tokenizer is None else open_tokenizer(map_file(tokenizer), profile)
    try:
        with reachable(logits):
            return Node.of(ImportedSession(read_logits(logits), known, profile, logits.name), None)
    except SessionError as error:
        raise click.BadParameter(str(error), param_hint="--logits") from error
