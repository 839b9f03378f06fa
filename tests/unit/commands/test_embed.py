"""`refruntime embed`, and what of an encoder's file is refused by name (GG-4, GG-15)."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime import open_model
from refruntime.commands.embed import embed_command
from refruntime.commands.inspect import inspect_command
from refruntime.embeddings import EncoderModel, open_encoder
from refruntime.errors import ContextExceeded, ContractError, InvalidHeader, InvalidLength, MissingTensor, ShapeMismatch
from tests.second_opinion.random_encoders import ENCODERS, TEXTS, EncoderRecipe, bert
from tests.second_opinion.random_model import HIDDEN


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "bert.gguf"
    path.write_bytes(bert(1).file())
    return path


def run(*arguments: object, stdin: bytes | None = None, expect: int = 0) -> str:
    result = CliRunner().invoke(embed_command, [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == expect, result.output
    return result.output


def test_embeddings_as_json_and_as_a_file(model: Path, tmp_path: Path) -> None:
    """GG-15: a batch from arguments, lines or ids is what the library gives, as the file pools or as asked."""
    expected = [each.values for each in open_encoder(model).embed(TEXTS[:1] + TEXTS[2:3])]
    document = json.loads(run(model, TEXTS[0], TEXTS[2], "--json"))
    assert (document["pooling"], document["normalized"]) == ("cls", False)
    assert [entry["text"] for entry in document["embeddings"]] == [TEXTS[0], TEXTS[2]]
    for entry, values in zip(document["embeddings"], expected, strict=True):
        assert np.array_equal(np.array(entry["embedding"], np.float32), values)
    saved = tmp_path / "embeddings.npy"
    run(model, "--lines", "-", "--save", saved, stdin=f"{TEXTS[0]}\r\n{TEXTS[2]}\n".encode())
    assert np.array_equal(np.load(saved), np.stack(expected))
    ids = ",".join(map(str, document["embeddings"][0]["ids"]))
    alone = json.loads(run(model, "--ids", ids, "--json", "--normalize", "--pooling", "mean", "--numerics", "f64"))
    assert np.isclose(np.linalg.norm(alone["embeddings"][0]["embedding"]), 1)
    assert "pooling none" in run(model, "a", "--pooling", "none")


def test_wrong_usage_and_bad_texts_are_named(model: Path) -> None:
    """GG-15: one source of texts; a text that does not fit is named before any is computed."""
    run(model, expect=2)
    run(model, "a", "--ids", "2", expect=2)
    assert "0 .. 289" in run(model, "--ids", "290", expect=2)
    assert "text 2: a" in run(model, "a", "a " * 300, expect=1)
    assert json.loads(run(model, "--lines", "-", "--json", stdin=b"\xff\n", expect=1).partition("\n")[2])["status"]


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_other_commands_say_what_an_encoder_is(name: str, tmp_path: Path) -> None:
    """GG-15: load_model refuses it with 6, and the other way round; inspect shows it."""
    path = tmp_path / "encoder.gguf"
    path.write_bytes(ENCODERS[name](1).file())
    with pytest.raises(InvalidHeader, match="refruntime embed"):
        open_model(path)
    with pytest.raises(InvalidHeader, match="refruntime run"):
        open_encoder(Path("golden/models/stories.f32.gguf").resolve())
    result = CliRunner().invoke(inspect_command, [str(path)])
    assert result.exit_code == 0
    assert "wordpiece" in result.output
    assert "pooling" in result.output


WRONG: dict[str, tuple[type[ContractError], str, Callable[[EncoderRecipe], Any]]] = {
    "unknown key": (InvalidHeader, "bert.attention.twist", lambda made: made.attention_keys(twist=1)),
    "experts": (InvalidHeader, "bert.expert_count", lambda made: made.keys(expert_count=2)),
    "causal": (InvalidHeader, "bert.attention.causal", lambda made: made.attention_keys(causal=True)),
    "ranking": (InvalidHeader, "bert.pooling_type", lambda made: made.keys(pooling_type=4)),
    "a classifier": (
        ShapeMismatch,
        "cls.weight",
        lambda made: made.tensor("cls.weight", HIDDEN, HIDDEN, size=1.0),
    ),
    "no positions": (MissingTensor, "position_embd.weight", lambda made: made.tensors.pop("position_embd.weight")),
    "no norm": (
        MissingTensor,
        "blk.1.layer_output_norm.bias",
        lambda made: made.tensors.pop("blk.1.layer_output_norm.bias"),
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_would_change_the_arithmetic_is_refused_by_name(wrong: str) -> None:
    """GG-4, GG-15: keys and tensors that are not understood, missing ones."""
    failure, named, change = WRONG[wrong]
    made = bert(1)
    change(made)
    with pytest.raises(failure) as caught:
        open_encoder(made.file())
    assert named in str(caught.value)


def test_lengths_are_checked() -> None:
    """GG-15: no tokens, and more than there are positions."""
    encoder = open_encoder(bert(1).file())
    with pytest.raises(InvalidLength):
        encoder.embed([[]])
    with pytest.raises(ContextExceeded):
        encoder.embed([[2] * 257])
    assert len(encoder.rows([2] * 256)) == 256
    with pytest.raises(ValueError, match="no pooling"):
        encoder.embed(["a"], pooling="rank")


@cache
def whole_file(name: str) -> bytes:
    return ENCODERS[name](1).file()


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(ENCODERS)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_changed_bytes_give_an_encoder_that_runs_or_an_expected_failure(name: str, changes: list[Any]) -> None:
    """GG-3, GG-4: whatever the metadata says, a file is refused as expected, or it embeds."""
    data = bytearray(whole_file(name))
    metadata_end = data.index(b"token_embd.weight")
    for place, value in changes:
        data[24 + int(place * (metadata_end - 24))] = value
    found = opened_or_failure(bytes(data))
    if isinstance(found, ContractError):
        assert str(found).isprintable()
        return
    sizes = found.hyperparameters
    (embedding,) = found.embed([[2, 5, 3][: sizes.max_context]], pooling="last")
    assert embedding.values.shape == (sizes.hidden_size,)


def opened_or_failure(data: bytes) -> EncoderModel | ContractError:
    try:
        return open_encoder(data)
    except ContractError as failure:
        return failure
