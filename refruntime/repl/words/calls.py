"""Words of the step language: each is one call of a host, answered by the oracle (golden/FORMAT.md, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from refruntime.cases.observation import is_failure
from refruntime.cases.steps import (
    FREE,
    INIT,
    NEXT_TOKEN,
    RESET,
    Configure,
    Generate,
    Load,
)
from refruntime.repl.node import Branches, Node
from refruntime.repl.parameters import (
    as_text,
    count,
    named_values,
    optional,
    required,
    sampling_values,
    several,
    whole,
)
from refruntime.repl.parsing import Argument, WrongWord
from refruntime.repl.tools import Tools
from refruntime.repl.words.calling import call
from refruntime.repl.words.raw_calls import EXPORT_NAMES, raw_bytes_of, raw_call, write
from refruntime.repl.words.word import Word, WordAnswer, WordFamily
from refruntime.show.text import row
from refruntime.show.visible import quoted


def load(tools: Tools, branches: Branches, model: str | None) -> WordAnswer:
    """Load a model of the session by name, or a file; without arguments the one that was loaded last."""
    if model is None:
        loaded = [step.model for step in branches.node.script if isinstance(step, Load)]
        if not loaded:
            raise WrongWord("no model was loaded yet; expected a name or a file")
        model = loaded[-1]
    elif model not in tools.models:
        model = tools.add_model(Path(model))
    with tools.progress("loading", None):
        return call(tools, branches, Load(model))


def _configuration(arguments: Sequence[Argument]) -> Configure:
    """Read all four values in their order, or some of them by name; what is not named has its default."""
    readers = sampling_values(-(2**63), 2**64 - 1)
    if all("=" in argument.text for argument in arguments):
        return replace(Configure(), **named_values(readers)(arguments))
    if len(arguments) != len(readers):
        raise WrongWord("expected TEMPERATURE TOP_K TOP_P SEED, or some of them as NAME=VALUE")
    return Configure(*(read(each.text) for read, each in zip(readers.values(), arguments, strict=True)))


def configure(tools: Tools, branches: Branches, values: Configure) -> WordAnswer:
    """Call `set_sampling_config`, with any values, wrong ones too."""
    return call(tools, branches, values)


def generate(tools: Tools, branches: Branches, prompt: bytes, count: int) -> WordAnswer:
    """Call `generate`; every token becomes a state that `back` finds."""
    with tools.progress("generating", None):
        return call(tools, branches, Generate(prompt, count))


def next_token(tools: Tools, branches: Branches, times: int) -> WordAnswer:
    """Call `generate_next_token`, several times if wanted; stops behind a call that fails."""
    node = branches.node
    if node.unspeakable:  # no call leads here, but what the next one would do is known
        session = node.present
        with tools.progress("generating", times) as advance:
            for _ in range(times):
                session = session.next()
                node = Node.of(session, node)
                advance(1)
        token = session.last.token
        shown = [row("token", f"{token} {quoted(session.subject.tokenizer.decode([token]))}")]
        return WordAnswer(branches.at(node), {"token": token, "notes": [node.unspeakable]}, shown)
    with tools.progress("generating", times) as advance:
        answer = call(tools, branches, NEXT_TOKEN)
        for _ in range(times - 1):
            observation = answer.branches.node.observation
            if observation is not None and is_failure(observation):
                break
            answer = call(tools, answer.branches, NEXT_TOKEN)
            advance(1)
    return answer


def init(tools: Tools, branches: Branches) -> WordAnswer:
    """Call `init_runtime`."""
    return call(tools, branches, INIT)


def reset(tools: Tools, branches: Branches) -> WordAnswer:
    """Call `reset_context`; also where no call leads."""
    node = branches.node
    if node.unspeakable:
        cleared = Node.of(node.present.reset(), node)
        return WordAnswer(branches.at(cleared), {"notes": [node.unspeakable]}, [row("answer", "the context is empty")])
    return call(tools, branches, RESET)


def free(tools: Tools, branches: Branches) -> WordAnswer:
    """Call `free_model`."""
    return call(tools, branches, FREE)


def _texts(arguments: Sequence[Argument]) -> list[str]:
    return [argument.text for argument in arguments]


CALLS: Final = WordFamily(
    "Calls of a host, as in goldens",
    (
        Word(
            "load",
            "load a model",
            "load stories.gguf",
            load,
            (optional("model", "NAME|FILE", as_text, None, "file"),),
        ),
        Word(
            "configure",
            "call set_sampling_config; what is not named has its default",
            "configure temperature=1 top_k=40 seed=7",
            configure,
            (
                several(
                    "values",
                    "TEMPERATURE TOP_K TOP_P SEED",
                    _configuration,
                    "sampling",
                    least=1,
                    hint="or some of them as NAME=VALUE",
                ),
            ),
        ),
        Word(
            "generate",
            "call generate",
            'generate "Once upon a time" 8',
            generate,
            (
                required("prompt", "PROMPT", lambda argument: argument.raw, hint="in quotes if it has spaces"),
                required("count", "COUNT", whole("COUNT", 0, 2**32 - 1)),
            ),
        ),
        Word(
            "next",
            "call generate_next_token",
            "next 3",
            next_token,
            (count(1),),
            also=("n",),
            repeats=True,
        ),
        Word(
            "call",
            "call any export",
            "call alloc 16 -> buffer",
            raw_call,
            (several("words", "EXPORT [ARGUMENT ..] [-> NAME]", _texts, "export", least=1, hint=EXPORT_NAMES),),
        ),
        Word(
            "write",
            "write bytes at a bound name",
            'write buffer "Once"',
            write,
            (
                required("place", "PLACE", as_text, hint="such as buffer or buffer+4"),
                required("data", "BYTES", raw_bytes_of, hint='"text" or hex=00ff'),
            ),
        ),
        Word("init", "call init_runtime", "init", init),
        Word("reset", "call reset_context", "reset", reset),
        Word("free", "call free_model", "free", free),
    ),
)
