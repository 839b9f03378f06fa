"""Words of the step language: each is one call of a host, answered by the oracle (golden/FORMAT.md, section 3)."""

from __future__ import annotations

import re
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
    Call,
    Configure,
    Generate,
    Load,
    Write,
)
from refruntime.cases.steps import Argument as StepArgument
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.golden.case import BOUND_NAME, PLACE
from refruntime.golden.values import parse_float
from refruntime.repl.node import Branches, Node
from refruntime.repl.parameters import (
    as_text,
    count,
    integer,
    named_values,
    number,
    optional,
    required,
    sampling_values,
    several,
    whole,
)
from refruntime.repl.parsing import Argument, WrongWord
from refruntime.repl.tools import Tools
from refruntime.repl.words.calling import call
from refruntime.repl.words.word import WordAnswer, WordFamily, word
from refruntime.show.text import row
from refruntime.show.visible import quoted

EXPORT_NAMES: Final = ", ".join(EXPORTS_BY_NAME)


@word(
    "call",
    "call any export",
    "call alloc 16 -> buffer",
    several(
        "words",
        "EXPORT [ARGUMENT ..] [-> NAME]",
        lambda arguments: [each.text for each in arguments],
        "export",
        least=1,
        hint=EXPORT_NAMES,
    ),
)
def raw_call(tools: Tools, branches: Branches, words: Sequence[str]) -> WordAnswer:
    """Call any export with raw arguments; `-> NAME` keeps the result under a name."""
    bind = None
    if "->" in words:
        at = words.index("->")
        words, after = words[:at], words[at + 1 :]
        if len(after) != 1:
            raise WrongWord("expected one name after ->, made of a-z and `_`")
        bind = after[0]
    if words[0] not in EXPORTS_BY_NAME:
        raise WrongWord(f"expected an export: {EXPORT_NAMES}")
    export = EXPORTS_BY_NAME[words[0]]
    types = export.wasm_parameters
    if len(words) - 1 != len(types):
        raise WrongWord(f"expected {len(types)} arguments for {export.signature}, found {len(words) - 1}")
    bound = _bound(branches)
    values = tuple(_value(word, type_, bound) for word, type_ in zip(words[1:], types, strict=True))
    if bind is not None:
        _check_bind(bind, export.result)
    return call(tools, branches, Call(export.name, values, bind))


def _check_bind(name: str, result: str) -> None:
    if not re.fullmatch(BOUND_NAME, name) or name in ("inf", "nan"):
        raise WrongWord(f"expected a name made of a-z and `_` that is no number, found {name!r}")
    if not result:
        raise WrongWord("this export returns nothing that could have a name")


def _bound(branches: Branches) -> set[str]:
    return {step.bind for step in branches.node.script if isinstance(step, Call) and step.bind is not None}


def _value(word: str, type_: str, bound: set[str]) -> StepArgument:
    if type_ == "f32":
        value = parse_float(word)
        return number(word, "a float argument") if value is None else value
    if word[:1].isalpha():
        return _place(word, bound)
    return integer(word, "an argument", -(2**63), 2**64 - 1)


def _place(word: str, bound: set[str]) -> str:
    match = PLACE.fullmatch(word)
    if match is None or match[1] not in bound:
        known = ", ".join(sorted(bound)) or "none yet"
        raise WrongWord(f"{word!r} is no number and no name that a call bound; bound names: {known}")
    return word


def raw_bytes_of(argument: Argument) -> bytes:
    """Read text, or `hex=` and digits where it stands without quotes."""
    text = argument.text
    if argument.quoted or not text.startswith("hex="):
        return argument.raw
    try:
        return bytes.fromhex(text.removeprefix("hex="))
    except ValueError:
        raise WrongWord(f"expected hex digits, two for each byte, found {text!r}") from None


@word(
    "write",
    "write bytes at a bound name",
    'write buffer "Once"',
    required("place", "PLACE", as_text, hint="such as buffer or buffer+4"),
    required("data", "BYTES", raw_bytes_of, hint='"text" or hex=00ff'),
)
def write(tools: Tools, branches: Branches, place: str, data: bytes) -> WordAnswer:
    """Write bytes into memory at a bound name."""
    return call(tools, branches, Write(_place(place, _bound(branches)), data))


@word("load", "load a model", "load stories.gguf", optional("model", "NAME|FILE", as_text, None, "file"))
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


@word(
    "configure",
    "call set_sampling_config; what is not named has its default",
    "configure temperature=1 top_k=40 seed=7",
    several(
        "values",
        "TEMPERATURE TOP_K TOP_P SEED",
        _configuration,
        "sampling",
        least=1,
        hint="or some of them as NAME=VALUE",
    ),
)
def configure(tools: Tools, branches: Branches, values: Configure) -> WordAnswer:
    """Call `set_sampling_config`, with any values, wrong ones too."""
    return call(tools, branches, values)


@word(
    "generate",
    "call generate",
    'generate "Once upon a time" 8',
    required("prompt", "PROMPT", lambda argument: argument.raw, hint="in quotes if it has spaces"),
    required("count", "COUNT", whole("COUNT", 0, 2**32 - 1)),
)
def generate(tools: Tools, branches: Branches, prompt: bytes, count: int) -> WordAnswer:
    """Call `generate`; every token becomes a state that `back` finds."""
    with tools.progress("generating", None):
        return call(tools, branches, Generate(prompt, count))


@word("next", "call generate_next_token", "next 3", count(1), also=("n",), repeats=True)
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


@word("init", "call init_runtime", "init")
def init(tools: Tools, branches: Branches) -> WordAnswer:
    """Call `init_runtime`."""
    return call(tools, branches, INIT)


@word("reset", "call reset_context", "reset")
def reset(tools: Tools, branches: Branches) -> WordAnswer:
    """Call `reset_context`; also where no call leads."""
    node = branches.node
    if node.unspeakable:
        cleared = Node.of(node.present.reset(), node)
        return WordAnswer(branches.at(cleared), {"notes": [node.unspeakable]}, [row("answer", "the context is empty")])
    return call(tools, branches, RESET)


@word("free", "call free_model", "free")
def free(tools: Tools, branches: Branches) -> WordAnswer:
    """Call `free_model`."""
    return call(tools, branches, FREE)


CALLS: Final = WordFamily(
    "Calls of a host, as in goldens", (load, configure, generate, next_token, raw_call, write, init, reset, free)
)
