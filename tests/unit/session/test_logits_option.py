"""`refruntime repl --logits` and the word `samplers`, from scripts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refruntime.cli import main
from refruntime.contract.profile import Profile
from refruntime.samplers.chain import Settings
from refruntime.samplers.explain import chains_of
from refruntime.sampling import SamplingConfig, sample, seeded

GOLDEN = Path(__file__).resolve().parents[3] / "golden"
MODEL = GOLDEN / "models" / "stories.q8_0.slm1"
ROWS = np.random.default_rng(2).normal(0, 3, (3, 260)).astype(np.float32)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", ROWS)
    return tmp_path / "rows.npy"


def script(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))


def documents(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line)["answer"] for line in capsys.readouterr().out.splitlines()]


def test_rows_of_a_file_are_sampled(
    rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SA-1 .. SA-6: the words of a script sample the rows one after the other, with the contract's sampler."""
    words = ["step 3", "why", "logits 7", "back 2", "text", "logits 7"]
    script(monkeypatch, "set temperature=1 top_k=20 top_p=0.9 seed=4", *words)
    assert main(["repl", "--logits", str(rows), "--json"]) == 0
    _, stepped, why, at_the_end, _, text, before = documents(capsys)
    tokens, state = [], seeded(4, Profile())
    for row in ROWS:
        choice = sample(row, SamplingConfig.validated(1.0, 20, 0.9, 4), state, Profile())
        tokens.append(choice.token)
        state = choice.generator_state
    assert why["token"] == tokens[2]
    assert text["ids"] == tokens[:1]
    for shown in (at_the_end, before):
        assert [each["logit"] for each in shown["steps"]] == [float(row[7]) for row in ROWS][: len(shown["steps"])]
    assert [len(at_the_end["steps"]), len(before["steps"])] == [3, 2]
    assert stepped["finished"] == "all 3 rows of logits were used"


def test_texts_come_from_a_model(
    rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SL-8: with --tokenizer the tokens have the texts of that model's vocabulary."""
    script(monkeypatch, "force 'a'", "force 98", "text")
    assert main(["repl", "--logits", str(rows), "--tokenizer", str(MODEL), "--json"]) == 0
    assert bytes.fromhex(documents(capsys)[-1]["text"]) == b"ab"


def test_samplers_explain_a_text(
    rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """PR-1: the word `samplers` says who draws these tokens, or others that another runtime wrote."""
    llama = chains_of(["llama.cpp"])[0]
    assert llama.units is not None
    chosen = Settings(temperature=1.0, top_k=20, top_p=0.9, seed=4)
    theirs = [llama.run(row, chosen).token(unit) for row, unit in zip(ROWS, llama.units(4), strict=False)]
    ids = ",".join(map(str, theirs))
    script(monkeypatch, "set temperature=1 top_k=20 top_p=0.9 seed=4", "step 3", "samplers", f"samplers ids={ids}")
    assert main(["repl", "--logits", str(rows), "--json"]) == 0
    ours, other = documents(capsys)[-2:]
    assert ours["chains"][0]["chain"] == "TinyRustLM"
    assert ours["chains"][0]["drawn"] == ours["chains"][0]["tokens"]
    assert other["chains"][0]["chain"] == "llama.cpp"
    assert other["chains"][0]["drawn"] == theirs
    script(monkeypatch, "set temperature=1 top_k=20 top_p=0.9 seed=4", "step 3", f"samplers ids={ids}")
    assert main(["repl", "--logits", str(rows)]) == 0
    assert "draws all 3 tokens with this seed" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "word",
    [
        'prompt "a"',
        "attention 0 0",
        "trace",
        "diff",
        "save a/b",
        'generate "a" 2',
        "samplers",
        "samplers ids=1",
        "next",
    ],
)
def test_words_that_need_more_than_logits(word: str, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs a model, calls or tokens fails in words, exit code 1, and nothing crashes."""
    script(monkeypatch, word)
    assert main(["repl", "--logits", str(rows)]) == 1


@pytest.mark.parametrize("word", ["samplers nonsense", "samplers top=1", "samplers ids=x", "samplers min_p=x"])
def test_wrong_words(word: str, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments that the word does not have are no word: exit code 2."""
    script(monkeypatch, "step", word)
    assert main(["repl", "--logits", str(rows)]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--logits", "missing.npy"], 3, "missing.npy"),
        (["--logits", "bad.json"], 2, "expected a list of numbers"),
        (["--logits", "rows.npy", "--tokenizer", "missing.slm1"], 3, "missing.slm1"),
        (["--logits", "rows.npy", "--tokenizer", "bad.json"], 1, "InvalidModelMagic"),
        (["--logits", "narrow.npy", "--tokenizer", str(MODEL)], 2, "260 tokens, a row of narrow.npy 2 logits"),
        (["--logits", "rows.npy", str(MODEL)], 2, "--logits goes without MODEL"),
        (["--logits", "rows.npy", "--case", "a"], 2, "--logits goes without --case"),
        (["--logits", "rows.npy", "--wasm", "a"], 2, "--logits goes without --wasm"),
        (["--tokenizer", str(MODEL), str(MODEL)], 2, "--tokenizer belongs to --logits"),
    ],
    ids=str,
)
def test_files_and_options(
    arguments: list[str],
    code: int,
    said: str,
    rows: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Missing files give 3, bad ones and options that do not go together 2, a model that is none its status."""
    monkeypatch.chdir(rows.parent)
    Path("bad.json").write_text('"nothing"')
    np.save("narrow.npy", np.zeros(2, np.float32))
    script(monkeypatch, "step")
    assert main(["repl", *arguments]) == code
    shown = capsys.readouterr()
    assert said in " ".join((shown.err + shown.out).split())
