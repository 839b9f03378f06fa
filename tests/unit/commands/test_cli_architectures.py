"""The commands on models of every architecture: inspect, logits, run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.model.architectures import ARCHITECTURES
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics import CompiledSeq32
from tests.second_opinion.random_zoo import make
from tests.support.command_line import command


@pytest.fixture
def lossy(tmp_path: Path) -> Path:
    path = tmp_path / "lossy.toml"
    path.write_text(Profile(invalid_output_utf8="lossy").to_toml())
    return path


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_commands_know_every_architecture(name: str, tmp_path: Path, lossy: Path) -> None:
    """GG-4, GG-11, GEN-8: a valid file is called valid; logits and the greedy ids of `run` are those of the model."""
    path = tmp_path / f"{name}.gguf"
    path.write_bytes(make(name, 1))
    inspected = command("inspect", path, "--json")
    assert (inspected.code, inspected.json["error"]) == (0, None)
    assert inspected.json["hyperparameters"]["architecture"] == name

    model = Transformer(validate_model(path.read_bytes(), Profile()), Profile(), CompiledSeq32())
    ids = [1, 270, 281, 33]
    saved = tmp_path / "logits.npy"
    assert command("logits", path, "--ids", "1,270,281,33", "--save", saved).code == 0
    logits = model.forward(ids, model.new_cache(), first_logit=0)
    assert np.array_equal(np.load(saved).view(np.uint32), logits.view(np.uint32))

    outcome = command("run", path, "--ids", "1,270,281,33", "-n", 4, "--json", "--profile", lossy)
    assert outcome.code == 0
    expected, cache = [int(logits[-1].argmax())], model.new_cache()
    model.forward(ids, cache)
    while len(expected) < 4 and expected[-1] != 2:
        expected.append(int(model.forward(expected[-1:], cache)[0].argmax()))
    assert outcome.json["generated_ids"] == [token for token in expected if token != 2]


def test_inspection_tells_what_is_special(tmp_path: Path) -> None:
    """GG-11: people are shown the hyper-parameters that count in this model, and none that have no effect."""
    path = tmp_path / "model.gguf"
    path.write_bytes(make("gemma2", 1))
    shown = command("inspect", path, "--metadata").stdout
    assert "windows.size" in shown
    assert "scales.logit_softcap" in shown
    assert "experts" not in shown
    assert "scales.residual" not in shown
