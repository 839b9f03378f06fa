"""What commands share that compute something of a model and a prompt: arguments, options, and the model with ids."""

from __future__ import annotations

import click

from refruntime.api import Model, open_model
from refruntime.commands.files import Command, profile_option
from refruntime.commands.shared import (
    MODEL,
    NumericsChoice,
    ids_option,
    json_option,
    numerics_option,
    progress,
)
from refruntime.contract.profile import Profile
from refruntime.model.load import Buffer


def prompt_arguments(command: Command) -> Command:
    """Add MODEL, PROMPT and `--ids` in its place."""
    return MODEL(click.argument("prompt", required=False)(ids_option(command)))


def computing_options(command: Command) -> Command:
    """Add `--profile`, `--numerics` and `--json`."""
    return profile_option(numerics_option(json_option(command)))


def opened_with_ids(
    data: Buffer, source: str | list[int], profile: Profile, numerics: NumericsChoice
) -> tuple[Model, list[int]]:
    """Open a model and return the ids of a prompt; ids that it does not have are a usage error."""
    with progress("loading"):
        opened = open_model(data, profile, numerics.make())
    try:
        return opened, opened.prompt_ids(source)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--ids") from error
