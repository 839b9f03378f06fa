"""Where a command takes a model, the name of one of the project's own will do."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from refruntime.api import open_model
from refruntime.cli import COMMANDS, CommandGroup
from refruntime.commands.files import ModelPath
from refruntime.resources import golden_folder
from tests.support.command_line import command

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


@pytest.mark.parametrize("name", ["stories.q8_0.slm1", "golden/models/stories.q8_0.slm1"])
def test_the_documents_name_models_that_an_installed_package_has(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SL-1: in an empty folder both ways to write it find the project's own model; a file that is there comes first."""
    monkeypatch.chdir(tmp_path)
    whole = (golden_folder() / "models" / "stories.q8_0.slm1").read_bytes()
    assert open_model(name).tokenizer.vocab_size == 260
    assert command("inspect", name, "--json").json["bytes"] == len(whole)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole[:100])
    assert command("inspect", name, "--json").json["bytes"] == 100
    with pytest.raises(FileNotFoundError):
        open_model(f"elsewhere/{name}")
