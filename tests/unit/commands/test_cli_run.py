"""`refruntime run` and `refruntime logits`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from tests.support.command_line import command
from tests.support.lookup_model import BOS, EOS, lookup_model, spelling


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a model that spells a word after H."""
    path = tmp_path / "hello.slm1"
    path.write_bytes(lookup_model(spelling(b"Helo!")))
    return path


def test_text_alone_on_standard_output(model: Path) -> None:
    """GEN-8: standard output has the text and a line feed, the summary is elsewhere."""
    outcome = command("run", model, "H")
    assert (outcome.code, outcome.stdout) == (0, "elo!\n")
    assert re.search(r"2 prompt tokens, 4 generated, [0-9.]+ tokens/s; stopped: stop token 257 EOS\n", outcome.stderr)
    assert "status Ok, numerics seq32" in outcome.stderr
    assert Profile().fingerprint in outcome.stderr
    assert command("run", model, "H", "-n", "2").stdout == "el\n"


def test_why_it_stopped(model: Path) -> None:
    """GEN-5, GEN-6: the limit, the capacity of 32 positions, a stop token: the summary tells them apart."""
    assert "stopped: limit" in command("run", model, "H", "-n", 2).stderr
    assert command("run", model, "--ids", "108", "-n", 99, "--json").json["stopped"] == "stop token 257 EOS"
    endless = model.with_name("endless.slm1")
    endless.write_bytes(lookup_model({ord("a"): ord("a")}))
    outcome = command("run", endless, "a", "-n", 99)
    assert outcome.stdout == "a" * 30 + "\n"
    assert "2 prompt tokens, 30 generated" in outcome.stderr
    assert "stopped: context full" in outcome.stderr


def test_prompts_from_files(model: Path, tmp_path: Path) -> None:
    """GEN-1: a file or standard input gives the bytes of the prompt; what is not given once is a usage error."""
    path = tmp_path / "prompt.txt"
    path.write_bytes(b"H")
    assert command("run", model, "-f", path).stdout == "elo!\n"
    assert command("run", model, "-f", "-", stdin=b"H").stdout == "elo!\n"
    assert command("run", model, stdin=b"H").stdout == "elo!\n"
    path.write_bytes(b"\xff")
    assert command("run", model, "-f", path, "--json").json["status"]["name"] == "InvalidUtf8"
    assert command("run", model, "H", "-f", path).code == 2
    assert command("run", model, "-f", tmp_path / "none").code == 3
    assert "Standard input is empty" in command("run", model).stderr


def test_json_document(model: Path) -> None:
    """SC-1, GEN-2, GEN-8: ids, text, bytes, status, settings, profile and numerics; the defaults are the contract's."""
    assert command("run", model, "H", "-n", 9, "--json").json == {
        "model": str(model),
        "settings": {"max_new_tokens": 9, "temperature": 0.0, "top_k": 1, "top_p": 1.0, "seed": 1},
        "profile": Profile().fingerprint,
        "numerics": "seq32",
        "resident": "float32 (auto)",
        "status": {"code": 0, "name": "Ok"},
        "error": None,
        "prompt_ids": [BOS, ord("H")],
        "generated_ids": list(b"elo!"),
        "text": "elo!",
        "result_bytes": b"elo!".hex(),
        "stopped": "stop token 257 EOS",
    }


def test_ids_replace_the_prompt(model: Path) -> None:
    """GEN-2: ids go in as they are; both or neither is a usage error, so is an id outside the vocabulary."""
    document = command("run", model, "--ids", "72", "--json").json
    assert (document["prompt_ids"], document["text"]) == ([72], "elo!")
    for arguments in (["H", "--ids", "72"], [], ["--ids", "72,x"], ["--ids", "260"], ["--ids", ""]):
        outcome = command("run", model, *arguments)
        assert (outcome.code, outcome.stdout) == (2, ""), arguments


def test_generated_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    """GEN-9: status 3, and the ids and bytes are told; a profile may choose the replacement character."""
    path = tmp_path / "broken.slm1"
    path.write_bytes(lookup_model({ord("A"): 0xC3, 0xC3: ord("("), ord("("): EOS}))
    outcome = command("run", path, "A", "--json")
    assert outcome.code == 1
    document = outcome.json
    assert document["status"] == {"code": 3, "name": "InvalidUtf8"}
    assert document["generated_ids"] == [0xC3, ord("(")]
    assert (document["result_bytes"], document["text"]) == ("c328", None)
    assert document["error"]["rule"] == "GEN-9"
    outcome = command("run", path, "A")
    assert (outcome.code, outcome.stdout) == (1, "\udcc3(\n")  # the bytes as they came
    for part in ("InvalidUtf8 (3)", "195,40", "\\xc3(", "stopped: refused text"):
        assert part in outcome.stderr
    lossy = tmp_path / "lossy.toml"
    lossy.write_text(Profile(invalid_output_utf8="lossy").to_toml())
    assert command("run", path, "A", "--profile", lossy).stdout == "\N{REPLACEMENT CHARACTER}(\n"


@pytest.mark.parametrize(
    ("arguments", "status", "rule"),
    [
        (["H", "-n", "0"], "InvalidLength", "GEN-1"),
        ([""], "InvalidLength", "ERR-1"),
        (["H", "--temperature", "-1"], "InvalidLength", "SC-2"),
        (["H", "--temperature", "nan"], "InvalidLength", "SC-2"),
        (["H", "--top-k", "1025"], "InvalidLength", "SC-2"),
        (["H", "--top-p", "1.5"], "InvalidLength", "SC-2"),
        (["H", "--seed", str(2**64)], "InvalidLength", "SC-2"),
        (["H" * 40], "ContextExceeded", "GEN-3"),
        (["\udcff"], "InvalidUtf8", "GEN-1"),
    ],
)
def test_failures_of_the_contract(model: Path, arguments: list[str], status: str, rule: str) -> None:
    """ERR-1, GEN-1, GEN-3, SC-2: exit code 1, the status by name and the broken rule, for people and machines."""
    outcome = command("run", model, *arguments)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert status in outcome.stderr
    assert rule in outcome.stderr
    outcome = command("run", model, *arguments, "--json")
    assert outcome.code == 1
    assert (outcome.json["status"]["name"], outcome.json["error"]["rule"]) == (status, rule)
    assert outcome.json["generated_ids"] == []


def test_seeds_and_settings_reach_the_sampler(tmp_path: Path) -> None:
    """GEN-7, SA-2: one seed gives one text, other seeds other texts, and top_k 1 is greedy at any temperature."""
    path = tmp_path / "flat.slm1"
    path.write_bytes(lookup_model({}))  # every logit is 0

    def ids(*settings: object) -> list[int]:
        found: list[int] = command("run", path, "H", "-n", 6, "--json", *settings).json["generated_ids"]
        return found

    hot = ("--temperature", 1, "--top-k", 120)
    assert ids(*hot, "--seed", 5) == ids(*hot, "--seed", 5)
    assert len({tuple(ids(*hot, "--seed", seed)) for seed in range(8)}) == 8
    assert ids("--temperature", 1) == [0] * 6
    assert max(ids(*hot, "--top-p", 0.05)) < 6  # 120 equal weights: the shortest prefix with 5 % has 6 of them


def test_logits_table_and_file(model: Path, tmp_path: Path) -> None:
    """FW-2: the best token after the last position, all logits under exactly the given name, no other file."""
    target = tmp_path / "out" / "logits"
    target.parent.mkdir()
    outcome = command("logits", model, "H", "--save", target)
    assert outcome.code == 0
    assert "2 positions, 260 logits each" in outcome.stdout
    assert str(target) in outcome.stdout
    assert [path.name for path in target.parent.iterdir()] == ["logits"]
    logits = np.load(target)
    assert (logits.shape, logits.dtype) == ((2, 260), np.float32)
    assert int(logits[1].argmax()) == ord("e")
    document = command("logits", model, "--ids", "256,72", "--json", "--numerics", "f64").json
    assert (document["ids"], document["shape"], document["dtype"]) == ([256, 72], [2, 260], "float64")
    assert document["saved"] is None
    assert document["top"][0]["piece"] == "e"
    assert document["top"][0]["logit"] == pytest.approx(float(logits[1].max()), rel=1e-6)
    assert [entry["id"] for entry in document["top"][1:]] == [0, 1, 2, 3]  # of equals the lower ids
    assert command("logits", model, "H", "--save", tmp_path / "none" / "logits").code == 3
    assert command("logits", model, "--ids", "300").code == 2
    assert command("logits", model, "").code == 1


def test_greedy_texts_of_other_software(shared_data: Path) -> None:
    """GEN-5, GG-5, GG-8, SA-1: llama.cpp chose the same 200 tokens, for two ways to store the weights.

    `test_shared_logits` has all ways and all texts.
    """
    compared = 0
    for name in ("f32", "q4_k_m"):
        model = shared_data / "real" / f"stories260K-{name}.gguf"
        for case in json.loads(model.with_suffix(".greedy.json").read_text())["greedy"][:1]:
            document = command("run", model, case["prompt"], "-n", len(case["ids"]), "--json").json
            assert document["prompt_ids"] == case["prompt_ids"]
            assert document["generated_ids"] == case["ids"]
            assert document["result_bytes"] == case["bytes"]
            compared += len(case["ids"])
    assert compared > 300


@pytest.mark.parametrize("numerics", ["seq32", "f64"])
def test_logits_of_other_software(shared_data: Path, tmp_path: Path, numerics: str) -> None:
    """FW-2, GG-8: llama.cpp's scalar build computed the same logits, within the noise of float32."""
    model = shared_data / "real" / "stories260K-f32.gguf"
    expected = np.load(shared_data / "real" / "stories260K-f32.expected.npz")
    for index in (0, 1):
        ids = ",".join(map(str, expected[f"tokens_{index}"]))
        saved = tmp_path / "logits.npy"
        assert command("logits", model, "--ids", ids, "--save", saved, "--numerics", numerics).code == 0
        assert np.abs(np.load(saved) - expected[f"logits_{index}"]).max() <= 1e-4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["H", "--top-k", "0"], "top_k"),
        (["H", "-n", "0"], "max_new_tokens"),
        (["H", "--temperature", "-1"], "temperature"),
    ],
)
def test_values_are_checked_before_the_weights_are_read(
    model: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    """SC-2, GEN-1: whoever has to wait for a large model hears of a bad value first."""
    monkeypatch.setattr("refruntime.commands.run.open_model", lambda *_: pytest.fail("weights were read"))
    outcome = command("run", model, *arguments)
    assert (outcome.code, outcome.stdout) == (1, "")
    assert f"field    {said}" in outcome.stderr
    assert "status InvalidLength, numerics seq32" in outcome.stderr
