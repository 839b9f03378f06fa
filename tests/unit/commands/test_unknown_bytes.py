"""A byte that a vocabulary lacks, with every way to give a prompt: refused unless it is to be left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from refruntime import Session
from refruntime.errors import GenerationFailed
from refruntime.tokenizers.spelling import to_alphabet
from tests.support.chat_models import SPECIAL, model_file
from tests.support.command_line import command
from tests.support.gguf_by_hand import STRING, array

LACKED = 7
MARKS = ("0x07", "expected", "--unknown-bytes drop")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model whose vocabulary has another token in the place of one byte."""
    tokens = [to_alphabet(bytes([byte])) if byte != LACKED else b"zz" for byte in range(256)]
    tokens += [text.encode() for text in SPECIAL]
    path = tmp_path / "lacking.gguf"
    path.write_bytes(model_file(None, seed=3, tokens=array(STRING, tokens)))
    return path


def test_run(model: Path) -> None:
    """GG-5, GEN-3: refused with byte, offset and option; left out, the generation is that of the text without it."""
    refused = command("run", model, "a\ab", "-n", "8")
    assert (refused.code, refused.stdout) == (1, "")
    assert all(mark in refused.stderr for mark in MARKS), refused.stderr
    assert "1 (0x1)" in refused.stderr
    left_out = command("run", model, "a\ab", "-n", "8", "--unknown-bytes", "drop", "--json").json
    assert left_out["generated_ids"] == command("run", model, "ab", "-n", "8", "--json").json["generated_ids"]
    assert left_out["prompt_ids"] == [97, 98]


def test_repl(model: Path) -> None:
    """GG-5: the REPL refuses, or leaves out, as it was started."""
    line = rb'prompt "a\x07b"' + b"\n"
    refused = command("repl", model, stdin=line)
    assert refused.code == 1
    assert "0x07" in refused.stdout + refused.stderr
    assert "2 ids: 97 98" in command("repl", model, "--unknown-bytes", "drop", stdin=line).stdout


def test_sessions_and_models(model: Path) -> None:
    """GG-5: the keyword of Python takes the same two words; another one is refused by name."""
    with pytest.raises(GenerationFailed, match="0x07"):
        Session(model).prompt("a\ab")
    assert Session(model, unknown_bytes="drop").prompt("a\ab").ids == Session(model).prompt("ab").ids
    with pytest.raises(ValueError, match="refuse or drop"):
        Session(model, unknown_bytes="keep")
