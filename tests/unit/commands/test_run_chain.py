"""`refruntime run --chain`: the sampler of llama.cpp with its generators, in a whole generation."""

from __future__ import annotations

from pathlib import Path

import pytest

from refruntime.api import open_model
from refruntime.samplers.llama_cpp_chain import LlamaSettings
from refruntime.samplers.llama_cpp_draws import LlamaSampler
from tests.support.command_line import command

MODEL = Path(__file__).parents[3] / "golden/models/stories.q8_0.gguf"
RUN = ("run", MODEL, "Once upon a time", "-n", "12", "--chain", "llama.cpp")


def test_tokens_are_those_of_the_sampler() -> None:
    """SA-2: behind each token the chain sees all before it, the prompt too; a seed gives one text."""
    settings = ("--set", "temp=1.3", "--set", "top_k=0", "--set", "xtc_probability=0.5", "--set", "penalty_repeat=1.2")
    outcome = command(*RUN, *settings, "--seed", "7", "--json")
    assert outcome.code == 0, outcome.stderr
    assert (outcome.json["settings"]["chain"], outcome.json["settings"]["top_k"]) == ("llama.cpp", 0)
    model = open_model(MODEL)
    ids = model.prompt_ids("Once upon a time")
    assert outcome.json["prompt_ids"] == ids
    chosen = LlamaSettings(temp=1.3, top_k=0, xtc_probability=0.5, penalty_repeat=1.2)
    sampler = LlamaSampler(chosen, 7, ids)
    for token in outcome.json["generated_ids"]:
        assert sampler.draw(model.logits(ids)[-1]) == token
        ids = [*ids, token]
    assert len(outcome.json["generated_ids"]) == 12
    other = command(*RUN, *settings, "--seed", "8", "--json")
    assert other.json["generated_ids"] != outcome.json["generated_ids"]


def test_temperature_0_is_greedy() -> None:
    """SA-1: without a choice both samplers agree; the text is streamed, and the last line says how much."""
    chain, plain = command(*RUN, "--set", "temp=0"), command("run", MODEL, "Once upon a time", "-n", "12")
    assert chain.stdout == plain.stdout
    assert "12 generated" in chain.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "heat=1"), "'heat' is none of temp, dynatemp_range"),
        (("--set", "top_k=1.5"), "top_k=1.5: expected a whole number"),
        (("--temperature", "1"), "--chain takes --set"),
    ],
)
def test_usage(arguments: tuple[str, ...], words: str) -> None:
    """Unknown settings, and those of the contract, are named."""
    outcome = command(*RUN, *arguments)
    assert (outcome.code, words in " ".join(outcome.stderr.split())) == (2, True), outcome.stderr
    assert command("run", MODEL, "a", "--set", "temp=1").code == 2


def test_a_prompt_that_is_refused() -> None:
    """GEN-3: a failure that the contract defines is told as always."""
    outcome = command("run", MODEL, "a" * 400, "--chain", "llama.cpp", "--json")
    assert outcome.code == 1
    assert outcome.json["status"]["name"] == "ContextExceeded"
