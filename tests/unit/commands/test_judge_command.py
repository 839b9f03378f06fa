"""`refruntime judge`: every source, its reports and exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refruntime.api import open_model
from refruntime.contract.profile import Profile
from refruntime.model.load import validate_model
from refruntime.numerics import Fast
from tests.support.asked_engines import PROGRAM, Dumping, dumped, llama_answers, llama_package, openai_answers, serving
from tests.support.command_line import command

MODEL = Path(__file__).parents[3] / "golden/models/plain-gguf.gguf"
IDS = [1, 70, 101, 34]
FEW = ("--positions", "4", "--greedy", "3")


def listed() -> str:
    """Return the ids as the command takes them."""
    return ",".join(map(str, IDS))


def logits(numerics: str = "fast") -> np.ndarray:
    """Return the rows behind the ids."""
    return open_model(MODEL, numerics=numerics).logits(IDS)


def test_a_server_of_llama_cpp(tmp_path: Path) -> None:
    """Tokens, whole rows and the greedy path come over HTTP; the page and JUnit tell the same."""
    page, junit = tmp_path / "page.html", tmp_path / "junit.xml"
    with serving(llama_answers(MODEL)) as address:
        arguments = ("judge", MODEL, "--server", address, "--text", "abc", *FEW, "--json")
        outcome = command(*arguments, "--html", page, "--junit", junit)
    assert outcome.code == 0, outcome.stderr
    findings = {one["stage"]: one for one in outcome.json["findings"]}
    assert [findings[stage]["verdict"] for stage in ("tokens", "logits", "greedy path")] == [
        "EQUAL",
        "ROUNDING",
        "EQUAL",
    ]
    assert findings["logits"]["numbers"] == len(IDS) * 263
    assert b"ROUNDING" in page.read_bytes()
    assert b'failures="0"' in junit.read_bytes()


@pytest.mark.parametrize("newer", [False, True])
def test_a_server_with_the_completions_of_openai(newer: bool) -> None:
    """The best tokens are told by their texts; a server that gives fewer than asked for is asked for fewer."""
    with serving(openai_answers(MODEL, 20, newer)) as address:
        outcome = command("judge", MODEL, "--server", address, "--ids", listed(), *FEW, "--json")
    assert outcome.code == 0, outcome.stderr
    findings = {one["stage"]: one for one in outcome.json["findings"]}
    assert findings["logits"]["verdict"] == "ROUNDING"
    assert 30 <= findings["logits"]["numbers"] <= 80
    assert findings["tokens"]["verdict"] == "NOT_ASKED"


def test_a_program_that_speaks_lines(tmp_path: Path) -> None:
    """A program is asked over its standard input, and needs not answer everything."""
    script = tmp_path / "engine.py"
    script.write_text(PROGRAM)
    line = f"{sys.executable} {script} {MODEL} seq32"
    outcome = command("judge", MODEL, "--node", line, "--ids", listed(), "--positions", "4", "--laws", "--json")
    assert outcome.code == 0, outcome.stderr
    laws = [one for one in outcome.json["findings"] if one["stage"].startswith("law: ")]
    assert [one["verdict"] for one in laws] == ["EQUAL"] * 3
    assert outcome.json["verdict"] == "EQUAL"
    assert outcome.json["source"] == "lines"


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("print('hello', flush=True); input()", 1, "no JSON"),
        ("raise SystemExit(7)", 1, "ended with exit code 7"),
        ("print('[1]', flush=True)", 1, "expected an object"),
        ('print(\'{"kind": "probabilities"}\', flush=True)', 1, "expected 'logits'"),
        ("print('{}', flush=True); print('{\"rows\": [1, 2]}', flush=True); input(); input()", 1, "rows of shape"),
    ],
)
def test_programs_that_do_not(tmp_path: Path, program: str, code: int, words: str) -> None:
    """What a program does wrong is said, with exit code 1."""
    script = tmp_path / "engine.py"
    script.write_text(program)
    outcome = command("judge", MODEL, "--node", f"{sys.executable} {script}", "--ids", "1,70")
    assert (outcome.code, words in outcome.stderr) == (code, True), outcome.stderr


@pytest.mark.parametrize("kind", ["npy", "npz", "json", "safetensors"])
def test_files(tmp_path: Path, kind: str) -> None:
    """Rows come from any of four formats; those of fewer positions belong to the last ids."""
    rows, path = logits()[1:], tmp_path / f"theirs.{kind}"
    if kind == "npy":
        np.save(path, rows)
    elif kind == "npz":
        np.savez(path, logits=rows, ids=np.array(IDS))
    elif kind == "json":
        path.write_text(json.dumps({"logits": rows.tolist(), "ids": IDS}))
    else:
        entries = {"logits": {"dtype": "F32", "shape": list(rows.shape), "data_offsets": [0, rows.nbytes]}}
        header = json.dumps(entries).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + rows.tobytes())
    outcome = command("judge", MODEL, "--logits", path, "--ids", listed(), "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["verdict"] == "ROUNDING"
    assert outcome.json["findings"][1]["numbers"] == rows.size


def test_a_wrong_engine_has_exit_code_1(tmp_path: Path) -> None:
    """A fault is shown in words, with the distances that it rests on."""
    path = tmp_path / "theirs.npy"
    np.save(path, open_model(MODEL, numerics="fast").logits([1, *IDS])[1:])
    outcome = command("judge", MODEL, "--logits", path, "--ids", listed())
    assert outcome.code == 1
    assert "FAULT" in outcome.stdout
    assert "a BOS too much" in " ".join(outcome.stdout.split())
    assert "distance from each arithmetic" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "Give one of --server, --logits"),
        (("--server", "127.0.0.1:9", "--node", "x"), 2, "Give one of"),
        (("--server", "ftp://x"), 2, "no address of a server"),
        (("--server", "http://127.0.0.1:9"), 3, "no server answers"),
        (("--node", "/no/such/program"), 3, "cannot be started"),
        (("--logits", "/no/such.npy"), 3, "/no/such.npy"),
        (("--ids", "1", "--text", "a", "--node", "x"), 2, "only one of --text and --ids"),
    ],
)
def test_usage(arguments: tuple[str, ...], code: int, words: str) -> None:
    """Wrong usage is 2, what is missing 3."""
    outcome = command("judge", MODEL, *arguments)
    assert (outcome.code, words in outcome.stderr) == (code, True), outcome.stderr


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.npy", b"junk", "a.npy"),
        ("a.json", b"{", "a.json"),
        ("a.json", b'{"ids": [1]}', "there are no logits"),
        ("a.txt", b"", "expected .npy, .npz, .json or .safetensors"),
        ("a.safetensors", b"\xff" * 9, "the header claims"),
        ("a.json", b'{"logits": [[1, 2]]}', "does not say which tokens"),
        ("a.json", b'{"logits": [[1, 2], [1, 2]], "ids": [5]}', "2 rows for 1 tokens"),
        ("a.json", b'{"logits": [[1, 2]], "ids": [999]}', "token id 999"),
    ],
)
def test_files_that_are_not_what_they_should_be(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    """The message says what was expected."""
    path = tmp_path / name
    path.write_bytes(data)
    outcome = command("judge", MODEL, "--logits", path)
    assert (outcome.code, words in outcome.stderr) == (2, True), outcome.stderr


def test_a_server_that_speaks_otherwise() -> None:
    """Answers without what was asked for are named with what they hold."""
    answers: dict[str, Any] = {"/props": {}, "/tokenize": {"ids": [1]}}
    with serving(lambda place, _: answers.get(place, b"<html>")) as address:
        assert "has no tokens; it holds ['ids']" in command("judge", MODEL, "--server", address).stderr
        assert "no JSON" in command("judge", MODEL, "--server", address, "--ids", "1").stderr


def test_python_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """llama-cpp-python is imported when it is named; its scores are judged, its absence is exit code 3."""
    package = llama_package(MODEL)
    monkeypatch.setitem(sys.modules, "llama_cpp", package)
    outcome = command("judge", MODEL, "--python", "llama-cpp-python", "--text", "abc", *FEW, "--json")
    assert outcome.code == 0, outcome.stderr
    assert [one["verdict"] for one in outcome.json["findings"]] == ["EQUAL", "ROUNDING", "EQUAL", "NOT_ASKED"]
    assert package.opened == [(str(MODEL), 7, True)]
    outcome = command("judge", MODEL, "--python", "llama-cpp-python", "--text", "abc", *FEW, "--laws", "--json")
    laws = {one["stage"]: one["verdict"] for one in outcome.json["findings"]}
    assert laws["law: another number of threads"] in ("EQUAL", "ROUNDING")  # compiled loops come in the middle
    assert package.threads == [(2, 1), (1, 4)]  # others than its own, and these again
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    outcome = command("judge", MODEL, "--python", "llama-cpp-python")
    assert (outcome.code, "pip install llama-cpp-python" in outcome.stderr) == (3, True)


def test_a_dump_of_layers(tmp_path: Path) -> None:
    """The first wrong operation is named in words and in JSON, a right dump has exit code 0."""
    model = validate_model(MODEL.read_bytes(), Profile())
    for name, code in (("", 0), ("blk.0.ffn_up", 1)):
        engine = Dumping(name, lambda values: values * np.float32(1.01))
        path = tmp_path / f"dump{code}.npz"
        np.savez(path, **dumped(model, engine, Fast()))  # type: ignore[arg-type]
        outcome = command("judge", MODEL, "--layers", path, "--ids", "1,70,101,34,9", "--json")
        assert outcome.code == code, outcome.stderr
        assert outcome.json["first_wrong_operation"] == (name or None)
    shown = command("judge", MODEL, "--layers", path, "--ids", "1,70,101,34,9")
    assert shown.code == 1
    assert "blk.0.ffn_up is the first wrong operation: " in shown.stdout
    refused = command("judge", MODEL, "--layers", path, "--ids", "1,70")
    assert (refused.code, "does not fit" in refused.stderr) == (2, True)
    assert command("judge", MODEL, "--layers", path, "--ids", "1", "--names", "none.toml").code == 3
