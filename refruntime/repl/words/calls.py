"""Words of the step language: each is one call of a host, answered by the oracle (golden/FORMAT.md, section 3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from refruntime.cases.observe import Observation
from refruntime.cases.steps import (
    FREE,
    INIT,
    NEXT_TOKEN,
    RESET,
    Call,
    Configure,
    Generate,
    Load,
    Step,
    Write,
    describe,
)
from refruntime.cases.steps import (
    Argument as StepArgument,
)
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.contract.status import Status
from refruntime.differential.compare import outcome
from refruntime.differential.verdict import is_failure
from refruntime.golden.case import BOUND_NAME, PLACE, step_document
from refruntime.golden.values import parse_float
from refruntime.repl.desk import Desk
from refruntime.repl.parsing import (
    Argument,
    WrongWord,
    integer,
    named_values,
    no_arguments,
    number,
    optional_count,
)
from refruntime.repl.place import Place, Position
from refruntime.repl.words.word import Answer, Family, Word
from refruntime.show.text import row
from refruntime.show.visible import quoted

SAMPLING_NAMES: Final = ("temperature", "top_k", "top_p", "seed")


def call(desk: Desk, position: Position, step: Step) -> Answer:
    """Let the oracle answer a call and show what a host sees."""
    place, notes = desk.call(position.place, step)
    observation = place.observation
    shown: list[RenderableType] = [Text(f"on the way, {note}", style="yellow") for note in notes]
    shown += [] if observation is None else observed(observation)
    return Answer(position.at(place), _document(step, observation, notes), shown)


def observed(observation: Observation) -> list[RenderableType]:
    """Return what one call answered, as people read it."""
    style = "bold red" if is_failure(observation) else "bold green"
    shown: list[RenderableType] = [row("answer", (outcome(observation), style), f"  {describe(observation.step)}")]
    if observation.result is not None:
        shown.append(row("result", quoted(observation.result, 2000)))
    diagnostics = observation.diagnostics
    if diagnostics:
        names = ("prompt_tokens", "generated_tokens", "kv_length", "selected_token", "last_error")
        shown.append(row("diagnostics", ", ".join(f"{name} {diagnostics.get(name)}" for name in names)))
    return shown


def _document(step: Step, observation: Observation | None, notes: Sequence[str]) -> dict[str, Any]:
    document: dict[str, Any] = {"call": step_document(step), "notes": list(notes)}
    if observation is None:
        return document
    if observation.kind == "status":
        known = {status.value: status.name for status in Status}
        document["status"] = {"code": observation.value, "name": known.get(observation.value or 0)}
        document["result"] = None if observation.result is None else observation.result.hex()
        document["diagnostics"] = None if observation.diagnostics is None else dict(observation.diagnostics)
        return document
    return document | {"kind": observation.kind, "value": observation.value, "detail": observation.detail}


# The words -----------------------------------------------------------------------------------------------------------


def load(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Load a model of the session by name, or a file; without arguments the one that was loaded last."""
    if len(arguments) > 1:
        raise WrongWord(f"expected one model, found {len(arguments)} arguments")
    if arguments:
        name = arguments[0].text
        if name not in desk.models:
            name = desk.add_model(Path(name))
    else:
        loaded = [step.model for step in position.place.script if isinstance(step, Load)]
        if not loaded:
            raise WrongWord("no model was loaded yet; expected a name or a file")
        name = loaded[-1]
    with desk.progress("loading", None):
        return call(desk, position, Load(name))


def configure(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Call `set_sampling_config`, with any values, wrong ones too."""
    if arguments and all("=" in argument.text for argument in arguments):
        values = named_values(arguments)
        unknown = sorted(values.keys() - set(SAMPLING_NAMES))
        if unknown:
            raise WrongWord(f"unknown value {unknown[0]!r}; expected {', '.join(SAMPLING_NAMES)}")
    elif len(arguments) == len(SAMPLING_NAMES):
        values = dict(zip(SAMPLING_NAMES, (argument.text for argument in arguments), strict=True))
    else:
        raise WrongWord("expected TEMPERATURE TOP_K TOP_P SEED, or some of them as NAME=VALUE")
    default = Configure()
    step = Configure(
        number(values["temperature"], "temperature") if "temperature" in values else default.temperature,
        integer(values["top_k"], "top_k", -(2**63), 2**64 - 1) if "top_k" in values else default.top_k,
        number(values["top_p"], "top_p") if "top_p" in values else default.top_p,
        integer(values["seed"], "seed", -(2**63), 2**64 - 1) if "seed" in values else default.seed,
    )
    return call(desk, position, step)


def generate(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Call `generate`; every token becomes a state that `back` finds."""
    if len(arguments) != 2:
        raise WrongWord(f"expected PROMPT and COUNT, found {len(arguments)} arguments; quote a prompt with spaces")
    count = integer(arguments[1].text, "COUNT", 0, 2**32 - 1)
    with desk.progress("generating", None):
        return call(desk, position, Generate(arguments[0].raw, count))


def next_token(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Call `generate_next_token`, several times if wanted; stops behind a call that fails."""
    times = optional_count(arguments, "COUNT", 1)
    place = position.place
    if place.unspeakable:  # no call leads here, but what the next one would do is known
        session = place.present
        with desk.progress("generating", times) as advance:
            for _ in range(times):
                session = session.next()
                place = Place.of(session, place)
                advance(1)
        token = session.last.token
        shown = [row("token", f"{token} {quoted(session.subject.tokenizer.decode([token]))}")]
        return Answer(position.at(place), {"token": token, "notes": [place.unspeakable]}, shown)
    with desk.progress("generating", times) as advance:
        answer = call(desk, position, NEXT_TOKEN)
        for _ in range(times - 1):
            observation = answer.position.place.observation
            if observation is not None and is_failure(observation):
                break
            answer = call(desk, answer.position, NEXT_TOKEN)
            advance(1)
    return answer


def init(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Call `init_runtime`."""
    no_arguments(arguments)
    return call(desk, position, INIT)


def reset(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Call `reset_context`; also where no call leads."""
    no_arguments(arguments)
    place = position.place
    if place.unspeakable:
        cleared = Place.of(place.present.reset(), place)
        return Answer(position.at(cleared), {"notes": [place.unspeakable]}, [row("answer", "the context is empty")])
    return call(desk, position, RESET)


def free(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Call `free_model`."""
    no_arguments(arguments)
    return call(desk, position, FREE)


def raw_call(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Call any export with raw arguments; `-> NAME` keeps the result under a name."""
    words = [argument.text for argument in arguments]
    bind = None
    if "->" in words:
        at = words.index("->")
        words, after = words[:at], words[at + 1 :]
        if len(after) != 1:
            raise WrongWord("expected one name after ->, made of a-z and `_`")
        bind = after[0]
    if not words or words[0] not in EXPORTS_BY_NAME:
        raise WrongWord(f"expected an export: {', '.join(EXPORTS_BY_NAME)}")
    export = EXPORTS_BY_NAME[words[0]]
    types = export.wasm_parameters
    if len(words) - 1 != len(types):
        raise WrongWord(f"expected {len(types)} arguments for {export.signature}, found {len(words) - 1}")
    bound = _bound(position)
    values = tuple(_value(word, type_, bound) for word, type_ in zip(words[1:], types, strict=True))
    if bind is not None:
        _check_bind(bind, export.result)
    return call(desk, position, Call(export.name, values, bind))


def _check_bind(name: str, result: str) -> None:
    if not re.fullmatch(BOUND_NAME, name) or name in ("inf", "nan"):
        raise WrongWord(f"expected a name made of a-z and `_` that is no number, found {name!r}")
    if not result:
        raise WrongWord("this export returns nothing that could have a name")


def _bound(position: Position) -> set[str]:
    return {step.bind for step in position.place.script if isinstance(step, Call) and step.bind is not None}


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


def write(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Write bytes into memory at a bound name."""
    if len(arguments) != 2:
        raise WrongWord('expected PLACE and BYTES, such as: write buffer "text", write buffer+4 hex=00ff')
    place = _place(arguments[0].text, _bound(position))
    text = arguments[1].text
    data = arguments[1].raw
    if not arguments[1].quoted and text.startswith("hex="):
        try:
            data = bytes.fromhex(text.removeprefix("hex="))
        except ValueError:
            raise WrongWord(f"expected hex digits, two for each byte, found {text!r}") from None
    return call(desk, position, Write(place, data))


CALLS: Final = Family(
    "Calls of a host, as in goldens",
    (
        Word("load", "[NAME|FILE]", "load a model", "load stories.gguf", load, "file"),
        Word(
            "configure",
            "TEMPERATURE TOP_K TOP_P SEED",
            "call set_sampling_config; what is not named has its default",
            "configure temperature=1 top_k=40 seed=7",
            configure,
            "sampling",
        ),
        Word("generate", "PROMPT COUNT", "call generate", 'generate "Once upon a time" 8', generate),
        Word("next", "[COUNT]", "call generate_next_token", "next 3", next_token),
        Word(
            "call", "EXPORT [ARGUMENT ..] [-> NAME]", "call any export", "call alloc 16 -> buffer", raw_call, "export"
        ),
        Word("write", "PLACE BYTES", "write bytes at a bound name", 'write buffer "Once"', write),
        Word("init", "", "call init_runtime", "init", init),
        Word("reset", "", "call reset_context", "reset", reset),
        Word("free", "", "call free_model", "free", free),
    ),
)
