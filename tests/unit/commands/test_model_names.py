"""Where a command takes a model, the name of one of the project's own will do."""

from __future__ import annotations

import click
import pytest

from refruntime.cli import COMMANDS, CommandGroup
from refruntime.commands.files import ModelPath

OTHERWISE = {
    "record": "bytes that a recording names by their hash, whatever they are called",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_model_may_be_one_of_the_project(name: str) -> None:
    """Every argument and option for a model takes a name of the project's own."""
    group = CommandGroup()
    command = group.get_command(click.Context(group), name)
    assert command is not None
    for parameter in command.params:
        if parameter.name in ("model", "models", "model_a", "model_b"):
            assert isinstance(parameter.type, ModelPath) is (name not in OTHERWISE), parameter.name
