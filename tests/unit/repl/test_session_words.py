"""Every word of the REPL as a method of `Session`, what values say of themselves, and wrong keywords."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from refruntime import ExportedABI, Session, open_model
from refruntime.client import Client
from refruntime.contract.profile import ProfileError
from refruntime.engines.reference import ReferenceEngine
from refruntime.golden.corpus import Corpus
from refruntime.repl.words.table import all_words
from refruntime.resources import golden_folder as own_goldens
from refruntime.session.state import SessionError
from tests.support.chat_models import BOS, CHATML, END, START, model_file
from tests.support.gguf_by_hand import BOOL, scalar
from tests.support.talks import DRAWN, STORIES, golden_folder, say, shell, shown

GUEST = Path(__file__).resolve().parents[2] / "guest"


@pytest.fixture
def session() -> Session:
    """Three warm tokens of the story model."""
    return Session(STORIES).set(temperature=1.0, top_k=260, seed=3).prompt("Once upon").step(3)


def test_every_word_is_a_method() -> None:
    """What one learns in a terminal works in Python: moves, questions, calls that a session can make."""
    elsewhere = {"forward", "goto", "branches", "switch", "script", "help", "quit", "witness", "memory"}
    calls = {"load", "configure", "generate", "call", "write", "init", "free"}
    for name in all_words().by_name.keys() - elsewhere - calls:
        assert hasattr(Session, name.replace("-", "_")), name


def test_answers_are_those_of_the_terminal(session: Session) -> None:
    """SA-2, PR-1, FW-6: `print` shows what the word shows, and the data is the same document."""
    talk = shell(STORIES)
    say(talk, *DRAWN, "step 3")
    asked = {
        "top 4": session.top(4),
        'logits "e"': session.logits("e"),
        "rng": session.rng(),
        "attention 0 1": session.attention(0, 1),
        "samplers": session.samplers(),
    }
    for line, found in asked.items():
        outcome = say(talk, line)
        assert outcome.answer is not None
        assert outcome.answer.document == found.to_dict()
        assert str(found).split()[:12] == shown(outcome).split()[:12], line
    trace = session.trace("0/attn_q")
    assert list(trace) == ["blk.0.attn_q"]
    assert trace["blk.0.attn_q"].shape == (13, 64)
    assert str(trace).split() == shown(say(talk, "trace 0/attn_q")).split()
    with pytest.raises(SessionError, match="names of layer 0: token_embd"):
        session.trace("nothing")


def test_attention_comes_with_its_tokens(session: Session) -> None:
    """FW-6: positions have ids and texts, and NumPy takes the weights."""
    attention = session.attention(1, 2)
    assert attention.ids == session.ids
    assert b"".join(attention.texts) == b"Once upon" + session.text
    assert np.asarray(attention).shape == (13, 13)
    assert np.allclose(np.asarray(attention).sum(axis=1), 1)
    assert attention._repr_html_().startswith("<pre>attention")


def test_a_build_is_compared(session: Session) -> None:
    """SA-2: the calls of a session on a build; what no call leads to is refused."""
    pytest.importorskip("wasmtime")
    right = session.diff(GUEST / "guest.wasm")
    assert (str(right.verdict), right.failed) == ("MATCH", "")
    assert "every compared field of every step agrees" in str(right)
    with pytest.raises(SessionError, match="only calls can be compared, and a token was forced"):
        session.force("x").diff(GUEST / "guest.wasm")


@pytest.mark.slow
def test_a_wrong_build_is_explained() -> None:
    """SA-2: the first difference of a build and its cause, as the word `diff` shows it."""
    pytest.importorskip("wasmtime")
    even = Session(own_goldens() / "models" / "table-even.f32.slm1").set(temperature=1, top_k=4, top_p=0.5, seed=11)
    wrong = even.prompt("-").step(6).diff((GUEST / "mutants" / "guest-bug-top_k_off_by_one.wasm").read_bytes())
    assert wrong.failed
    assert "oracle" in str(wrong)


def test_a_case_is_saved(session: Session, tmp_path: Path) -> None:
    """GEN-5: the calls become a case of the goldens, whose steps are those calls."""
    folder = golden_folder(tmp_path / "golden")
    path = session.save("sampling/from-python", folder, about="Three tokens.", rules="SA-6")
    assert path == folder / "cases" / "sampling" / "from-python" / "case.json"
    assert Corpus(folder).case("sampling/from-python").steps == session.state.script
    for identifier, rules, said in (
        ("nope", "", "FAMILY/NAME"),
        ("a/b", "XX-1", "no rule"),
        ("sampling/from-python", "", "exists"),
    ):
        with pytest.raises(SessionError, match=said):
            session.save(identifier, folder, rules=rules)


# Chats ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def chatty(tmp_path: Path) -> Path:
    """Write a model with a chat template."""
    path = tmp_path / "chat.gguf"
    path.write_bytes(model_file(CHATML, seed=5, context=256))
    return path


def test_a_session_chats(chatty: Path) -> None:
    """GEN-4: `chat` begins an answer, goes on behind it with the sampled ids, and a system message begins anew."""
    pytest.importorskip("jinja2")
    first = Session(chatty).set(temperature=1.0, top_k=40, seed=2).chat("hi").step(4)
    assert first.state.prompt_ids == (START, *b"user\nhi", END, 10, START, *b"assistant\n")
    second = first.chat("and?")
    new = (END, 10, START, *b"user\nand?", END, 10, START, *b"assistant\n")
    assert second.state.prompt_ids == (*first.ids, *new)
    assert second.back().ids == first.ids
    assert second.chat("x", system="be").state.prompt_ids[:10] == (START, *b"system\nbe")[:10]
    assert second.reset().chat("hi").state.prompt_ids == first.state.prompt_ids
    assert second.prompt("a").chat("hi").state.prompt_ids == first.state.prompt_ids
    assert "chat template" in second.state.unspeakable
    assert not second.prompt("a").state.unspeakable
    with pytest.raises(SessionError, match="no chat template"):
        Session(STORIES).chat("hi")


def test_the_word_chat(chatty: Path) -> None:
    """GEN-4: the word shows turn and template, takes a system message, and one letter stands for it."""
    pytest.importorskip("jinja2")
    talk = shell(chatty)
    outcome = say(talk, 'chat "hi there" system="be brief"')
    assert outcome.answer is not None
    assert outcome.answer.document["turn"] == 1
    assert "<|im_start|>system␊be␣brief<|im_end|>" in "".join(shown(outcome).split())
    assert "turn        2" in shown(say(talk, "step 3", "c more"))


def test_control_tokens_in_a_prompt(tmp_path: Path) -> None:
    """GG-5: with `special` the texts of control tokens are these tokens, BOS as the model says; SLM1 has none."""
    path = tmp_path / "special.gguf"
    path.write_bytes(model_file(None, seed=5, add_bos_token=scalar(BOOL, True), add_eos_token=scalar(BOOL, True)))
    session = Session(path)
    assert session.prompt("<|im_start|>a").ids == (BOS, *b"<|im_start|>a")
    assert session.prompt("<|im_start|>a", special=True).ids == (BOS, START, ord("a"))
    talk = shell(path)
    say(talk, 'prompt special=yes "<|im_start|>a"')
    assert talk.branches.node.present.ids == (BOS, START, ord("a"))
    say(talk, 'prompt "special=yes"')
    assert talk.branches.node.present.ids == (BOS, *b"special=yes")
    assert "expected yes or no" in talk.obey("prompt special=1 x").error
    with pytest.raises(SessionError, match="no control tokens"):
        Session(STORIES).prompt("a", special=True)


# Values and keywords -------------------------------------------------------------------------------------------------


def test_values_say_what_they_are() -> None:
    """ABI-5: a model and the exports tell in one line what one would ask first."""
    assert repr(open_model(STORIES)) == ("<Model slm1 q8_0: 4 layers of 64, 260 tokens, 256 positions, numerics seq32>")
    abi = ExportedABI()
    assert repr(abi).startswith("<ExportedABI uninitialized; 0 allocations in ")
    client = Client(ReferenceEngine(abi))
    client.check(client.load_model(STORIES.read_bytes()))
    client.check(client.generate(b"Once", 3))
    assert re.match(r"<ExportedABI continuation ready; slm1 q8_0, 260 tokens; 8 of 256 positions; \d+ allo", repr(abi))


def test_wrong_keywords_get_the_right_one() -> None:
    """ABI-5: a mistyped keyword is a TypeError that names the nearest and lists all."""
    session = Session(STORIES)
    for act, said in (
        (lambda: session.set(temprature=1.0), r"Session.set\(\) has no keyword 'temprature'; perhaps temperature\?"),
        (lambda: Session(STORIES, numeric="f64"), "perhaps numerics"),
        (lambda: open_model(STORIES, unknown_byte="drop"), "perhaps unknown_bytes"),
        (lambda: open_model(STORIES).generate("a", 1, topk=4), "perhaps top_k"),
    ):
        with pytest.raises(TypeError, match=said):
            act()
    with pytest.raises(ProfileError, match="perhaps temperature"):
        session.prompt("a").step().what_if(temprature=1)
