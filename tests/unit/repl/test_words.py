"""The words, one by one: help and examples, what is refused, and what calls answer."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from refruntime.cases.steps import Call, Load, Write
from refruntime.client import Client
from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from refruntime.repl.shell import CRASHED, FAILED, MISSING, WRONG
from refruntime.repl.words.table import all_words
from refruntime.repl.words.word import Word
from tests.support.talks import (
    DRAWN,
    STORIES,
    golden_folder,
    say,
    shell,
    shown,
    tiny_model,
)


@pytest.mark.parametrize("word", all_words().by_name.values(), ids=lambda word: word.name)
def test_every_word_explains_itself(word: Word) -> None:
    """Help comes from the table: usage, one line, and an example that is obeyed as it stands or needs what it names."""
    talk = shell(STORIES)
    text = shown(say(talk, f"help {word.name}"))
    assert word.usage in text
    assert word.help in text
    assert word.example.split()[0] == word.name
    assert word.name in shown(say(talk, "help"))


@pytest.mark.parametrize("word", all_words().by_name.values(), ids=lambda word: word.name)
def test_every_example_is_obeyed(word: Word, tmp_path: Path) -> None:
    """The examples of the table work behind a short generation; `load`, `diff` and `force` name what is not here."""
    talk = shell(STORIES, golden=golden_folder(tmp_path / "golden"))
    say(talk, *DRAWN, "step 3", *(["call alloc 16 -> buffer"] if word.name == "write" else []))
    outcome = talk.obey(word.example)
    expected = {
        "load": MISSING,
        "diff": FAILED,
        "force": FAILED,
        "chat": FAILED,
        "forward": FAILED,
        "logits": FAILED,
        "witness": FAILED,
        "memory": FAILED,
    }.get(word.name, 0)
    assert outcome.code == expected, outcome.error


@pytest.mark.parametrize("word", all_words().by_name.values(), ids=lambda word: word.name)
def test_every_function_takes_what_its_word_declares(word: Word) -> None:
    """A function is given the tools, the branches, and what the declared parameters read, by these names."""
    names = list(inspect.signature(word.function).parameters)
    assert sorted(names[2:]) == sorted(parameter.name for parameter in word.parameters)


@pytest.mark.parametrize("word", all_words().by_name.values(), ids=lambda word: word.name)
def test_every_word_counts_its_arguments(word: Word) -> None:
    """One argument more or fewer than a word takes is a wrong word, and the message says how it is written."""
    talk = shell(tiny_model())
    plain = [parameter for parameter in word.parameters if not parameter.anywhere]
    least, most = sum(each.least for each in plain), sum(each.most for each in plain)
    wrong = ([least - 1] if least else []) + ([most + 1] if most < 10 else [])
    for number in wrong:
        outcome = talk.obey(" ".join([word.name, *["1"] * number]))
        assert outcome.code == WRONG
        assert f"expected {word.arguments if most else 'no arguments'}, found" in outcome.error


def test_words_fail_without_a_trace() -> None:
    """A word that is wrong, fails, or names a missing file changes nothing, and says which of these it was."""
    talk = shell(tiny_model())
    say(talk, "prompt ab", "step")
    before = talk.branches
    wrong = [
        *(
            "stepp",
            "step 0",
            "step x",
            "step 1 2",
            "set heat=1",
            "set temperature=warm",
            "force",
            "logits",
            'prompt "a',
        ),
        *("switch nowhere", "branch main", "what-if PR-9=1", 'what-if PR-3="7 bits"', "what-if top_k=x", "reset now"),
        *("call nothing", "call alloc", "call alloc x", "call dealloc 1 1 -> a", "write buffer x", "generate a"),
        *(
            "attention 0",
            "help nothing",
            "configure 1 2",
            "configure heat=1",
            "prompt",
            "logits",
            "prompt ids=1,x",
            "quit now",
        ),
    ]
    failing = [
        *("set temperature=-1", "force 999", "force AB", "attention 9 0", "attention 0 9", "trace nothing", "diff"),
        *("back 99", 'prompt ""', "prompt aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", r"prompt \xff"),
    ]
    for code, lines in ((WRONG, wrong), (FAILED, failing), (MISSING, ["load /nowhere/model.slm1"])):
        for line in lines:
            outcome = talk.obey(line)
            assert outcome.code == code, (line, outcome.error)
            assert outcome.error, line
            assert talk.branches is before, line


def test_a_bug_is_told_from_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that no word foresees is a bug of the oracle, with its traceback, and changes nothing."""
    talk = shell(tiny_model())
    monkeypatch.setattr("refruntime.runtime.machine.Machine.take", lambda *_: 1 // 0)
    say(talk, "prompt a")
    before = talk.branches
    outcome = talk.obey("step")
    assert (outcome.code, talk.branches is before) == (CRASHED, True)
    assert "bug in the oracle: ZeroDivisionError" in outcome.error
    assert "1 // 0" in outcome.traceback


def test_raw_calls_are_answered_by_the_exports() -> None:
    """MEM-1, GEN-1, GEN-5: alloc, write, generate, dealloc by hand give what a host sees, and states."""
    talk = shell(STORIES)
    lines = ["call alloc 4 -> buffer", 'write buffer "On"', "write buffer+2 hex=6365", "call generate buffer 4 6"]
    outcome = say(talk, *lines)
    client = Client(ReferenceEngine(ExportedABI()))
    client.check(client.load_model(STORIES.read_bytes()))
    client.check(client.generate(b"Once", 6))
    assert outcome.answer is not None
    assert bytes.fromhex(outcome.answer.document["result"]) == client.result()
    assert talk.branches.node.present.text == client.result()
    assert talk.branches.node.script == (
        Load("stories.q8_0"),
        Call("alloc", (4,), "buffer"),
        Write("buffer", b"On"),
        Write("buffer+2", b"ce"),
        Call("generate", ("buffer", 4, 6)),
    )
    say(talk, "back 2")
    assert len(talk.branches.node.present.generated_ids) in (4, 5)
    say(talk, "why")


def test_statuses_are_answers_not_failures() -> None:
    """ERR-1, NT-2, ST-6: a status other than Ok is what the word asked for; states without a model come and go."""
    talk = shell(tiny_model())
    for line, status in (
        ("next", "GenerationFailed"),
        ("generate '' 3", "InvalidLength"),
        ("generate a 0", "InvalidLength"),
        ("configure -1 1 1 1", "InvalidLength"),
        ("free", "Ok"),
        ("generate a 3", "ModelNotLoaded"),
        ("load", "Ok"),
        ("generate a 3", None),
    ):
        outcome = say(talk, line)
        assert outcome.answer is not None
        assert status is None or outcome.answer.document["status"]["name"] == status, line
    say(talk, "back 4")


def test_host_misuse_is_no_answer() -> None:
    """MEM-4: what the contract leaves undefined is refused as such, and the calls before it still stand."""
    talk = shell(tiny_model())
    say(talk, "call alloc 8 -> buffer", "call dealloc buffer 8")
    outcome = talk.obey("call dealloc buffer 8")
    assert outcome.code == FAILED
    assert "MEM-4" in outcome.error
    say(talk, "generate a 2")


def test_replayed_calls_that_fail_are_told() -> None:
    """GEN-9, ST-7: where half a character was generated, a call after it shows that `generate` failed before it."""
    talk = shell(tiny_model())
    say(talk, "set temperature=2 top_k=260 seed=4", "prompt a")
    for _ in range(8):
        say(talk, "step")
        try:
            talk.branches.node.present.text.decode()
        except UnicodeDecodeError:
            break
    outcome = say(talk, "call last_result_len")
    assert "InvalidUtf8 (3)" in shown(outcome)
    assert talk.branches.node.present.ids == ()


def test_no_word_goes_on_behind_a_trap() -> None:
    """MEM-6: behind a trap every status is 13, so no word samples or shows a state; `back` leads to the one before."""
    talk = shell(tiny_model())
    say(talk, "prompt a", "step 2")
    before = talk.branches.node
    assert say(talk, "call generate 4294967290 30 2").answer.document["kind"] == "trap"
    for word in ("step", "why", "text", "prompt b", "set seed=3", "rng"):
        outcome = talk.obey(word)
        assert (outcome.code, "MEM-6" in outcome.error, "`back` leads on" in outcome.error) == (1, True, True)
    for word in ("next", "load", "reset"):
        assert say(talk, word).answer.document["status"]["code"] == 13
    assert "MEM-6" in shown(say(talk, "branches"))
    say(talk, "back 4")
    assert talk.branches.node is before
