"""`refruntime fill`: what it writes, and for what it refuses to write."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from refruntime import resources
from refruntime.battery.models.gguf import LlamaShape, llama_model
from refruntime.battery.models.slm1 import table_model
from refruntime.contract.profile import Profile
from refruntime.golden.corpus import Corpus
from refruntime.golden.values import disk_json
from refruntime.quants import ggml, legacy
from tests.support.builds import GUEST, MUTANTS
from tests.support.command_line import command
from tests.support.golden_files import CASES, STORY, case, write_case, write_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "golden")


def fill(corpus: Path, *arguments: object) -> Any:
    return command("fill", "--golden", corpus, "--json", *arguments).json


def expectation(corpus: Path, identifier: str) -> Any:
    return json.loads((corpus / "cases" / identifier / "expect.json").read_bytes())


def problems(report: Any, identifier: str) -> list[str]:
    (found,) = [item["problems"] for item in report["cases"] if item["id"] == identifier]
    return [f"{item['place']}: {item['field']}: {item['text']}" for item in found]


def snapshot(corpus: Path) -> dict[str, bytes]:
    return {str(path.relative_to(corpus)): path.read_bytes() for path in sorted(corpus.rglob("*")) if path.is_file()}


def test_answers_are_those_of_the_story(corpus: Path) -> None:
    """GEN-5, DG-3, ST-3: the story model says `bc` after `a`; the file shows what changed, step by step."""
    report = fill(corpus)
    assert (report["filled"], report["refused"], report["tests_executed"], report["exit_code"]) == (4, 0, 0, 0)
    answers = expectation(corpus, "generate/story")
    load, generate = answers["steps"]
    assert load["status"] == "Ok"
    assert bytes.fromhex(load["result"]) == b"model loaded"
    assert load["_text"] == "model loaded"
    assert len(load["diagnostics"]) == 17
    assert (load["diagnostics"]["temperature"], load["diagnostics"]["seed"]) == ("0x0p+0", "1")
    assert (generate["status"], generate["result"]) == ("Ok", "6263")
    changed = generate["diagnostics"]
    assert {"kv_length", "prompt_tokens", "generated_tokens", "selected_token", "top_tokens"} < changed.keys()
    assert "model_loaded" not in changed
    assert (changed["prompt_tokens"], changed["generated_tokens"], changed["kv_length"]) == (2, 2, 4)
    assert changed["top_tokens"][0] == [ord("c"), "0x1p+0"]
    first, second = answers["samples"]
    assert (first["step"], first["token"], first["greedy"]) == (1, ord("b"), "temperature is 0")
    assert second["top"][0] == [ord("c"), "0x1p+0"]
    assert not (corpus / "cases/generate/story/ids.npy").exists()


def test_values_and_nothing_are_written_as_the_format_says(corpus: Path) -> None:
    """MEM-8, MEM-7: of an address only zero or not is written; calls without a result show `none`."""
    fill(corpus)
    steps = expectation(corpus, "memory/transfer")["steps"]
    assert steps[:5] == [{"value": "non-zero"}, {"none": True}, {"value": 0}, {"value": "non-zero"}, {"none": True}]
    (failure,) = expectation(corpus, "errors/no-model")["steps"]
    assert (failure["status"], failure["diagnostics"]["last_error"]) == ("ModelNotLoaded", "model not loaded")


def test_sampler_trace_is_what_the_formulas_say(corpus: Path) -> None:
    """SA-3 .. SA-6, PR-1, PR-3: every number of the trace follows from the logits by a few lines written again here."""
    fill(corpus)
    folder = corpus / "cases/generate/story-drawn"
    ids, weights = np.load(folder / "ids.npy"), np.load(folder / "weights.npy")
    assert (ids.dtype, weights.dtype) == (np.dtype("<i4"), np.dtype("<f4"))
    samples = expectation(corpus, "generate/story-drawn")["samples"]
    assert [sample["step"] for sample in samples] == [2, 2, 2, 2, 3]
    state, first = 3, 0
    for number, sample in enumerate(samples):
        if number == 4:  # the continuation has a generator of its own, seeded by the configuration (SC-3)
            state = 3
        assert int(sample["state_before"], 16) == state
        for shift in (13, -7, 17):
            state ^= (state << shift) % 2**64 if shift > 0 else state >> -shift
        assert int(sample["state_after"], 16) == int(sample["output"], 16) == state
        unit = (state >> 40) / 2**24
        assert float.fromhex(sample["unit"]) == unit
        expected = [math.exp(-0.37 * place) for place in range(5)]
        assert (sample["retained"], sample["first"]) == (5, first)
        assert float.fromhex(sample["total"]) == pytest.approx(sum(expected), rel=1e-6)
        assert float.fromhex(sample["threshold"]) == pytest.approx(0.9 * sum(expected), rel=1e-6)
        kept = next(count for count in range(1, 6) if sum(expected[:count]) >= 0.9 * sum(expected))
        assert sample["kept"] == kept
        assert float.fromhex(sample["mass"]) == pytest.approx(sum(expected[:kept]), rel=1e-6)
        assert float.fromhex(sample["point"]) == pytest.approx(unit * sum(expected[:kept]), rel=1e-6)
        assert ids[first : first + kept].tobytes() == np.arange(97, 97 + kept, dtype="<i4").tobytes()
        assert weights[first : first + kept].tolist() == pytest.approx(expected[:kept], rel=1e-6)
        winner = next(i for i in range(kept) if unit * sum(expected[:kept]) < sum(expected[: i + 1]))
        assert (sample["index"], sample["token"]) == (winner, 97 + winner)
        first += kept
    assert first == ids.size == weights.size


def test_filling_again_changes_nothing(corpus: Path) -> None:
    """The same inputs give the same files; --new-only leaves answered cases alone, --check writes nothing."""
    fill(corpus)
    before = snapshot(corpus)
    assert fill(corpus)["unchanged"] == 4
    assert fill(corpus, "--check")["exit_code"] == 0
    assert fill(corpus, "--new-only")["cases"] == []
    assert snapshot(corpus) == before
    write_case(corpus, "generate/new", case(STORY))
    assert [item["id"] for item in fill(corpus, "--new-only")["cases"]] == ["generate/new"]


def test_other_provenance_is_no_change(corpus: Path) -> None:
    """`_info` is for people: another version of NumPy does not rewrite a file."""
    fill(corpus)
    path = corpus / "cases/generate/story/expect.json"
    document = json.loads(path.read_bytes())
    document["_info"]["numpy"] = "9.9"
    path.write_bytes(disk_json(document))
    assert fill(corpus)["unchanged"] == 4
    assert json.loads(path.read_bytes())["_info"]["numpy"] == "9.9"


def test_check_names_case_step_and_field(corpus: Path) -> None:
    """A stored answer that differs is named with its step, its field and both values, and nothing is written."""
    fill(corpus)
    path = corpus / "cases/generate/story/expect.json"
    document = json.loads(path.read_bytes())
    document["steps"][1]["diagnostics"]["kv_length"] = 9
    document["samples"][1]["token"] = 1
    path.write_bytes(disk_json(document))
    before = snapshot(corpus)
    shown = command("fill", "--golden", corpus, "--check")
    assert shown.code == 1
    assert "DIFFERS generate/story: step 1: diagnostics.kv_length: stored 9, computed 4" in shown.stderr
    assert "DIFFERS generate/story: sample 1: token: stored 1, computed 99" in shown.stderr
    assert "INDEX.json: cases.generate/story.expect" in shown.stderr
    assert "3 unchanged, 1 different, 0 refused, 0 tests executed; nothing was written" in shown.stdout
    assert snapshot(corpus) == before


def test_patterns_choose_cases(corpus: Path) -> None:
    """An id, a family, a rule and a shell pattern choose; one that means nothing is a usage error."""
    chosen = {
        pattern: [item["id"] for item in fill(corpus, pattern)["cases"]] for pattern in ("ST-6", "memory", "*/s*")
    }
    assert chosen == {
        "ST-6": ["errors/no-model"], "memory": ["memory/transfer"], "*/s*": ["generate/story", "generate/story-drawn"],
    }  # fmt: skip
    shown = command("fill", "--golden", corpus, "generate/none")
    assert shown.code == 2
    assert "means no case" in shown.stderr


def test_a_near_tie_is_refused_and_exact_allows_it(corpus: Path) -> None:
    """FORMAT section 6: equal logits are an edge; only a reason why they are the same in every order lets them pass."""
    tie = {ord("b"): 1.0, ord("c"): 1.0}
    (corpus / "models/table-tie.slm1").write_bytes(table_model({}, otherwise=tie, profile=Profile()))
    document = case([{"load": "tie"}, STORY[1]], models=("tie",))
    write_case(corpus, "sampling/tie", document)
    report = fill(corpus, "sampling")
    assert report["exit_code"] == 1
    assert "near tie" in problems(report, "sampling/tie")[0]
    assert problems(report, "sampling/tie")[0].startswith("step 1 generate(b'a', 2): greatest logit")
    assert not (corpus / "cases/sampling/tie/expect.json").exists()
    write_case(corpus, "sampling/tie", {**document, "exact": "The logits are single products."})
    assert fill(corpus, "sampling")["filled"] == 1


def test_a_coin_on_an_edge_is_refused(corpus: Path) -> None:
    """SA-6: of two equal weights the coin of seed 8388608 is far from the edge, that of a unit of 1/2 lies on it."""
    even = {ord("b"): 1.0, ord("c"): 1.0 - 2.0**-30}
    (corpus / "models/table-even.slm1").write_bytes(table_model({}, otherwise=even, profile=Profile()))
    # Seed x with output >> 40 = 2^23: found by running the three shifts backwards.
    seed = _seed_of_output(1 << 63)
    configure = {"configure": {"seed": str(seed), "temperature": "1", "top_k": 2, "top_p": "1"}}
    write_case(corpus, "sampling/edge", case([{"load": "even"}, configure, STORY[1]], models=("even",)))
    found = problems(fill(corpus, "sampling"), "sampling/edge")
    assert any("coin: a near tie" in text for text in found)


def _seed_of_output(output: int) -> int:
    """Invert x ^= x << 13; x ^= x >> 7; x ^= x << 17 by repeating each until nothing is left to take back."""
    x = output
    for shift in (17, -7, 13):
        y = x
        for _ in range(64):
            y = x ^ ((y << shift) % 2**64 if shift > 0 else y >> -shift)
        x = y
    return x


def test_a_second_opinion_that_differs_is_named(corpus: Path) -> None:
    """A build with another attention scale disagrees on a model with attention: case, step and field are named."""
    data = llama_model(3, LlamaShape()).data
    (corpus / "models/small.gguf").write_bytes(data)
    document = case([{"load": "m"}, {"generate": {"max_new_tokens": 3, "prompt": {"text": "hello"}}}], models=())
    write_case(corpus, "generate/small", document | {"models": {"m": {"file": "models/small.gguf"}}})
    assert fill(corpus, "generate/small")["refused"] == 0
    shown = command("fill", "--golden", corpus, "generate/small", "--opinion", MUTANTS["attention_scale_hidden"])
    assert shown.code == 1
    assert "REFUSED generate/small: step 1 generate(b'hello', 3): top_tokens: oracle" in shown.stderr
    assert "second opinion" in shown.stderr


@pytest.mark.parametrize("kind", [2, 30])
def test_gguf_py_stands_in_where_the_build_has_no_such_type(corpus: Path, kind: int) -> None:
    """GG-8, GG-9: with gguf-py's weights the build confirms a type that it lacks; without a name it is refused."""
    (corpus / "models/small.gguf").write_bytes(llama_model(5, LlamaShape(type=kind, byte_tokens=128)).data)
    steps = [{"load": "m"}, {"generate": {"max_new_tokens": 3, "prompt": {"text": "hello"}}}]
    document = case(steps, models=()) | {"models": {"m": {"file": "models/small.gguf"}}}
    write_case(corpus, "quants/small", document)
    assert "name an independent check" in problems(fill(corpus, "quants"), "quants/small")[0]
    write_case(corpus, "quants/small", {**document, "opinion": "gguf-py-and-build"})
    assert fill(corpus, "quants")["filled"] == 1
    label = expectation(corpus, "quants/small")["steps"][0]["diagnostics"]["quantization"]
    assert label == gguf.GGMLQuantizationType(kind).name.lower()


def test_gguf_py_objects_to_wrong_weights(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GG-8: had the oracle decoded q4_0 with another zero point, gguf-py and the build would say so."""
    (corpus / "models/small.gguf").write_bytes(llama_model(5, LlamaShape(type=2, byte_tokens=128)).data)
    steps = [{"load": "m"}, {"generate": {"max_new_tokens": 3, "prompt": {"text": "hello"}}}]
    document = case(steps, models=(), opinion="gguf-py-and-build") | {"models": {"m": {"file": "models/small.gguf"}}}
    write_case(corpus, "quants/small", document)
    wrong = replace(ggml.GGML_TYPES[2], decode=_half_a_step_off)
    monkeypatch.setitem(ggml.GGML_TYPES, 2, wrong)
    found = problems(fill(corpus, "quants"), "quants/small")
    assert any("top_tokens" in text for text in found)


def _half_a_step_off(blocks: Any, values: Any) -> None:
    legacy.decode_q4_0(blocks, values)
    values += np.float32(0.01)


def test_what_the_contract_leaves_undefined_is_refused(corpus: Path) -> None:
    """MEM-3, MEM-4: a case that frees twice has no right answer."""
    free = {"call": ["dealloc", "p", 4]}
    write_case(corpus, "memory/twice", case([{"call": ["alloc", 4], "bind": "p"}, free, free], models=()))
    assert "leaves undefined" in problems(fill(corpus, "memory/twice"), "memory/twice")[0]


BROKEN = {
    "a rule that is none": (case(STORY, rules=("GEN-999",)), "the contract has no rule GEN-999"),
    "a model that is not there": (case([{"load": "x"}], models=("x",)), "No such file"),
    "an opinion that is none": (case(STORY, opinion="nobody"), "expected one of gguf-py-and-build"),
    "an opinion without a file": (case(STORY, opinion="gguf-py-and-build"), "no model of the case is a GGUF file"),
    "another key": (case(STORY) | {"step": []}, "an unknown key"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_case_is_refused_and_others_are_filled(corpus: Path, name: str) -> None:
    """One wrong case is named and does not stop the others; the index does not list it."""
    document, text = BROKEN[name]
    write_case(corpus, "memory/broken", document)
    report = fill(corpus)
    assert (report["filled"], report["refused"], report["exit_code"]) == (4, 1, 1)
    assert text in problems(report, "memory/broken")[0]
    assert sorted(json.loads((corpus / "INDEX.json").read_bytes())["cases"]) == sorted(CASES)


def test_nothing_is_filled_without_a_second_opinion(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FORMAT section 6: without a build exit code is 3; with a file that is no build 2; nothing is written."""
    before = snapshot(corpus)
    monkeypatch.setattr(resources, "second_opinion", lambda: None)
    shown = command("fill", "--golden", corpus)
    assert (shown.code, "no second opinion" in shown.stderr) == (3, True)
    assert command("fill", "--golden", corpus, "--opinion", corpus / "none.wasm").code == 3
    assert command("fill", "--golden", corpus, "--opinion", corpus / "models/table-story.slm1").code == 2
    assert command("fill", "--golden", corpus / "elsewhere").code == 2
    assert command("fill", "--golden", corpus / "models").code == 3
    assert snapshot(corpus) == before
    assert command("fill", "--golden", corpus, "--opinion", GUEST).code == 0


def test_format_rewrites_and_keeps_comments(corpus: Path) -> None:
    """A case in another form is refused until --format rewrites it; comments stay."""
    path = corpus / "cases/generate/story/case.json"
    document = json.loads(path.read_bytes()) | {"_note": "kept"}
    path.write_text(json.dumps(document), encoding="utf-8")
    assert "on-disk form" in problems(fill(corpus, "generate/story"), "generate/story")[0]
    assert command("fill", "--golden", corpus, "--format", "--json").json["rewritten"] == ["generate/story"]
    assert path.read_bytes() == disk_json(document)
    assert fill(corpus)["filled"] == 4


def test_an_interrupted_write_leaves_the_old_file(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fill that is stopped while it writes leaves each file whole, the old or the new one."""
    fill(corpus)
    name = "cases/generate/story/expect.json"
    old = (corpus / name).read_bytes()

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        Corpus(corpus).write(name, b"other")
    assert (corpus / name).read_bytes() == old
    assert not list(corpus.rglob("*.partial"))


def test_arrays_that_are_not_needed_go(corpus: Path) -> None:
    """A case that draws no token any more loses its arrays."""
    fill(corpus)
    assert (corpus / "cases/generate/story-drawn/ids.npy").exists()
    write_case(corpus, "generate/story-drawn", case(STORY))
    (corpus / "models/table-slope.slm1").unlink()
    assert fill(corpus, "generate/story-drawn")["filled"] == 1
    assert not (corpus / "cases/generate/story-drawn/ids.npy").exists()
    assert command("verify", "--golden", corpus, "--partial").code == 0


def test_a_folder_that_is_none_of_goldens_is_named(tmp_path: Path) -> None:
    """An empty folder: which one, what it lacks, and what makes one."""
    done = command("fill", "--golden", tmp_path)
    assert done.code == 3
    assert f"{tmp_path}: a folder of goldens has a folder `cases`, and this one has none" in done.stderr
    assert "refruntime fill --profile FILE --into DIR" in done.stderr
