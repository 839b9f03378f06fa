"""The sampler chain of llama.cpp in a session: the word, the option, and what they draw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from refruntime.repl.completion import Suggestions
from refruntime.repl.node import Branches, Node
from refruntime.repl.shell import Shell
from refruntime.repl.tools import Tools
from refruntime.repl.words.table import all_words
from refruntime.samplers.llama_cpp_chain import LlamaSettings
from refruntime.session.chain_draws import ChainDraws
from refruntime.session.logits_session import ImportedSession
from refruntime.session.session import Session
from refruntime.session.state import SessionError
from tests.support.command_line import command

MODEL = Path(__file__).parents[3] / "golden/models/stories.q8_0.gguf"
SETTINGS = ("temp=1.3", "top_k=20", "penalty_repeat=1.2", "xtc_probability=0.4", "mirostat=0")
MIROSTAT = ("mirostat=2", "mirostat_tau=4")


def given(*settings: str) -> tuple[str, ...]:
    """Return settings as options."""
    return tuple(part for each in settings for part in ("--set", each))


@pytest.mark.parametrize("settings", [SETTINGS, MIROSTAT])
def test_the_repl_draws_what_run_draws(settings: tuple[str, ...]) -> None:
    """SA-1: the same prompt, settings and seed, so the same tokens; the word gives what the option gives."""
    options = ("--chain", "llama.cpp", *given(*settings), "--seed", "11")
    run = command("run", MODEL, "Once upon a time", "-n", "12", "--json", *options)
    text = 'prompt "Once upon a time"\n'
    by_option = command("repl", MODEL, "--json", *options, stdin=f"{text}step 12\n".encode())
    word = f"chain llama.cpp {' '.join(settings)} seed=11\n"
    by_word = command("repl", MODEL, "--json", stdin=f"{text}{word}step 12\n".encode())
    assert (by_option.code, by_word.code) == (0, 0), by_option.stderr + by_word.stderr
    for outcome in (by_option, by_word):
        step = json.loads(outcome.stdout.splitlines()[-1])["answer"]
        assert [each["token"] for each in step["tokens"]][: len(run.json["generated_ids"])] == run.json["generated_ids"]
        assert step["drawn_by"] == "llama.cpp's chain"


def test_a_session_draws_the_same_from_anywhere() -> None:
    """Going back, forcing and asking change no later draw: a draw is a function of the tokens before it."""
    chain = ChainDraws(LlamaSettings(temp=1.5, xtc_probability=0.5, penalty_repeat=1.3), 5)
    whole = Session(MODEL.read_bytes()).chain(chain).prompt("Tom had").step(10)
    again = whole.back(6)
    token, stages = again.chain_draw()
    assert stages[-1][0] == "temperature"
    assert token == whole.generated_ids[4]
    assert again.step(6).generated_ids == whole.generated_ids
    fresh = Session(MODEL.read_bytes()).prompt("Tom had").step(2)
    for other in (fresh.chain(ChainDraws(chain.settings, 5)), fresh.chain(chain)):
        forced = other.force(7)
        assert forced.step(3).generated_ids == forced.step(1).step(2).generated_ids
    assert whole.state.unspeakable == "the chain of llama.cpp drew a token, which no export does"
    with pytest.raises(SessionError, match="the sampler of the contract draws"):
        fresh.chain_draw()


def test_logits_of_another_runtime() -> None:
    """Rows from a file are drawn from without a model; those without an order are refused."""
    rows = np.random.default_rng(3).standard_normal((4, 30)).astype(np.float32)
    rows[3, 2] = np.nan
    session = ImportedSession(rows).chain(ChainDraws(LlamaSettings(temp=0.0))).step(3)
    assert [each.token for each in session.state.taken] == rows[:3].argmax(axis=1).tolist()
    with pytest.raises(SessionError, match="NaN"):
        session.step()


def test_the_word() -> None:
    """It says what each stage leaves, goes back to the contract's sampler, and names what it does not take."""
    shell = Shell(Tools(), all_words(), Branches(Node.of(Session(MODEL.read_bytes()), None)))
    assert shell.obey("chain").code == 0
    assert shell.obey("chain llama.cpp top_k=3 temp=0.5").code == 0
    assert shell.obey('prompt "Tom"').code == 0
    outcome = shell.obey("chain")
    assert outcome.answer is not None
    document = outcome.answer.document
    assert (document["settings"]["top_k"], document["seed"], len(document["stages"]["top_k"])) == (3, 1, 3)
    assert list(document["stages"]) == [
        "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature",
    ]  # fmt: skip
    assert document["token"] in document["stages"]["temperature"]
    assert shell.obey("chain off").code == 0
    greedy = shell.obey("step").answer
    assert greedy is not None
    assert greedy.document["tokens"][0]["forced"] is False
    for line, words in (
        ("chain candle", "expected llama.cpp, with settings behind it, or off"),
        ("chain llama.cpp heat=1", "unknown value 'heat'"),
        ("chain llama.cpp top_k=1.5", "top_k: expected an integer"),
        ("chain llama.cpp top_k=1 top_k=2", "top_k is there twice"),
    ):
        assert words in shell.obey(line).error


def test_completion() -> None:
    """Chains, settings and the seed are suggested."""
    shell = Shell(Tools(), all_words(), Branches(Node.of(Session(MODEL.read_bytes()), None)))
    suggestions = Suggestions(shell)
    assert suggestions.of("chain ll") == ("ll", ["llama.cpp"])
    assert suggestions.of("chain llama.cpp xtc_") == ("xtc_", ["xtc_probability=", "xtc_threshold="])
    assert suggestions.of("chain llama.cpp se")[1] == ["seed="]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "temp=1"), "--set and --seed go with --chain"),
        (("--seed", "1"), "--set and --seed go with --chain"),
        (("--chain", "llama.cpp", "--set", "heat=1"), "'heat' is none of temp"),
        (("--chain", "candle"), "is not 'llama.cpp'"),
    ],
)
def test_usage(arguments: tuple[str, ...], words: str) -> None:
    """What does not go together, and unknown settings, are named."""
    outcome = command("repl", MODEL, *arguments, stdin=b"")
    assert (outcome.code, words in " ".join(outcome.stderr.split())) == (2, True), outcome.stderr
