"""`diff` and `save`: the calls so far beside a build, and as a golden case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from refruntime.cases.steps import Generate
from refruntime.golden.case import parse_case
from refruntime.repl.shell import FAILED, WRONG
from tests.support.command_line import command
from tests.support.talks import (
    DRAWN,
    MUTANTS,
    PROJECT,
    STORIES,
    build,
    golden_folder,
    say,
    shell,
    shown,
    tiny_model,
)

CALLS = (*DRAWN, "step 12", "next 2", "reset", "generate The 4")


def test_diff_with_the_guest() -> None:
    """FW-5, GEN-5: the calls so far agree with the guest."""
    outcome = say(shell(STORIES, build=build()), *CALLS, "diff")
    assert outcome.answer is not None
    assert outcome.answer.document["verdict"] == "MATCH"
    assert outcome.answer.document["tokens"] >= 12
    assert "7 calls" in shown(outcome)


@pytest.mark.slow
def test_diff_with_a_mutant() -> None:
    """FW-5: a mutant is caught at the first call that differs."""
    mutant = MUTANTS / "guest-bug-rope_split_halves.wasm"
    talk = shell(STORIES, build=build(mutant))
    say(talk, *CALLS)
    caught = talk.obey("diff")
    assert caught.code == FAILED
    assert caught.answer is not None
    assert caught.answer.document["differences"][0]["step"] == 2
    assert "MISMATCH" in shown(caught) or "CONTRACT_GAP" in shown(caught)


def test_saved_cases_are_read_back(tmp_path: Path) -> None:
    """GEN-5: the calls become a golden case that any consumer can run, and no case is overwritten."""
    golden = golden_folder(tmp_path / "golden")
    talk = shell(STORIES, golden=golden)
    say(talk, *DRAWN, "step 4", "next", 'save sampling/mine about="A coin falls." rules=SA-6,PR-3')
    case = parse_case("sampling/mine", (golden / "cases/sampling/mine/case.json").read_bytes())
    assert case.steps == talk.branches.node.calls
    assert case.steps[2] == Generate(b"Once upon", 4)
    assert (case.about, case.rules) == ("A coin falls.", ("SA-6", "PR-3"))
    assert case.case(lambda name: (golden / name).read_bytes()).models["stories.q8_0"] == STORIES.read_bytes()
    assert talk.obey("save sampling/mine").code == FAILED
    say(talk, "save sampling/other")
    again = command("repl", "--case", "sampling/mine", "--golden", golden, "--json", stdin=b"text\n")
    assert json.loads(again.stdout)["answer"]["ids"] == list(talk.branches.node.present.generated_ids)


def test_save_refuses_what_no_case_can_hold(tmp_path: Path) -> None:
    """A forced token, a model outside of the goldens, a bad id or rule: refused with the reason, nothing written."""
    golden = golden_folder(tmp_path / "golden")
    talk = shell(STORIES, golden=golden)
    say(talk, *DRAWN, "step")
    for line, code, reason in (
        ("save Mine", WRONG, "FAMILY/NAME"),
        ("save a/b rules=XX-1", WRONG, "no rule"),
        ("save a/b colour=red", WRONG, "expected about or rules"),
    ):
        outcome = talk.obey(line)
        assert (outcome.code, reason in outcome.error) == (code, True), outcome.error
    say(talk, "force x")
    assert "forced" in talk.obey("save a/b").error
    other = shell(tiny_model(), golden=golden)
    say(other, "prompt a", "step")
    assert "no file in" in other.obey("save a/b").error
    nowhere = shell(STORIES, golden=tmp_path / "nothing")
    say(nowhere, *DRAWN, "step")
    assert "holds no goldens" in nowhere.obey("save a/b").error
    assert not (golden / "cases").exists()


def test_witness_and_memory_look_into_the_build() -> None:
    """FW-6: the first wrong number of the generation so far, and where its tensor lies, with the numbers of both."""
    mutant = MUTANTS / "guest-bug-attention_scale_hidden.wasm"
    talk = shell(PROJECT / "golden" / "models" / "small.q8_0.slm1", build=build(mutant))
    say(talk, "generate Once 1")
    caught = talk.obey("witness")
    assert caught.code == FAILED
    assert caught.answer is not None
    first = caught.answer.document["first"]
    assert (first["tensor"], first["position"], first["pattern"]) == ("blk.0.attn.scores", 1, "constant factor")
    assert "[x]" in shown(caught)
    held = say(talk, "memory 0/attn.scores").answer
    assert held is not None
    numbers = held.document["numbers"]
    assert numbers["address"] == first["address"]
    ratios = [found / expected for found, expected in zip(numbers["found"], numbers["expected"], strict=True)]
    assert max(ratios) - min(ratios) < 1e-5
    equal = say(talk, "memory 0/attn_q 1").answer
    assert equal is not None
    assert equal.document["numbers"]["found"] == equal.document["numbers"]["expected"]
    assert len(say(talk, "memory blk.*.attn_q 1").answer.document["tensors"]) == 2  # type: ignore[union-attr]


def test_words_about_memory_say_what_they_need() -> None:
    """Without a build, a generation, a tensor or a position they say so, and change nothing."""
    talk = shell(tiny_model())
    assert "--wasm" in (talk.obey("witness").error or "")
    talk = shell(tiny_model(), build=build())
    assert "end with no generation" in (talk.obey("memory logits").error or "")
    say(talk, "generate ab 2")
    assert "positions 0 .." in (talk.obey("witness 99").error or "")
    assert "no tensor fits" in (talk.obey("memory nothing").error or "")
    assert say(talk, "witness 1").answer.document["verdict"] == "clean"  # type: ignore[union-attr]
