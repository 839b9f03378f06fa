"""Words that ask and change nothing: why, what if, and what the numbers are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, Final

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from refruntime.repl.desk import Desk
from refruntime.repl.parsing import Argument, WrongWord, integer, named_values, no_arguments, optional_count
from refruntime.repl.place import Position
from refruntime.repl.words.moves import sampling_values, token_of
from refruntime.repl.words.word import Answer, Family, Word
from refruntime.sampling import draw
from refruntime.session.session import Session
from refruntime.session.state import SessionError
from refruntime.session.what_if import SAMPLING, WhatIf
from refruntime.show.tensors import attention_shown, describe, pattern, tensors_table
from refruntime.show.terminal import what_if_shown, why_shown
from refruntime.show.text import (
    OWNERS,
    SHOWN,
    exact,
    named,
    plain_table,
    row,
    token_cell,
)
from refruntime.show.visible import quoted

HEX: Final = "--hex"
NEXT_DRAWS: Final = 3
SHOWN_STEPS: Final = 16
MOST_ALTERNATIVES: Final = 256


def _flag(arguments: Sequence[Argument]) -> tuple[bool, list[Argument]]:
    """Return whether hex floats are wanted, and the other arguments."""
    others = [argument for argument in arguments if argument.quoted or argument.text != HEX]
    return len(others) < len(arguments), others


def text(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Show the text and the ids so far."""
    no_arguments(arguments)
    session = position.place.present
    tokenizer = session.subject.tokenizer
    document = {
        "prompt_ids": list(session.state.prompt_ids),
        "ids": list(session.generated_ids),
        "text": session.text.hex(),
        "finished": session.finished,
    }
    shown = [
        row("prompt", quoted(tokenizer.decode(session.state.prompt_ids), 100_000)),
        row("text", quoted(session.text, 100_000)),
        row("ids", " ".join(map(str, session.generated_ids)) or "none"),
        row("positions", f"{session.position} of {session.subject.bench.capacity}"),
    ]
    return Answer(position, document, [*shown, *([row("finished", session.finished)] if session.finished else [])])


def why(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Explain the last choice stage by stage."""
    hexes, others = _flag(arguments)
    most = optional_count(others, "COUNT", SHOWN)
    explained = position.place.present.why()
    return Answer(position, dict(explained.to_dict()), why_shown(explained, most, hexes))


def what_if(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Choose the last token again under other values or options, side by side."""
    hexes, others = _flag(arguments)
    session = position.place.present
    found = None
    for changes in _alternatives(named_values(others)):
        one = session.what_if(**changes)
        found = one if found is None else WhatIf(one.taken, one.chosen, (*found.alternatives, *one.alternatives))
    if found is None:
        raise WrongWord("expected NAME=VALUE, or nothing for every option")
    return Answer(position, found.to_dict(), what_if_shown(found, hexes))


def _alternatives(values: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield every combination of changes: a sampling value may be several, such as temperature=0.5,1."""
    choices: list[list[tuple[str, Any]]] = []
    for name, written in values.items():
        if name in SAMPLING:
            choices.append([(name, sampling_values({name: part})[name]) for part in written.split(",")])
        else:
            choices.append([(name, written)])
    combinations = int(np.prod([len(each) for each in choices])) if choices else 1
    if combinations > MOST_ALTERNATIVES:
        raise WrongWord(f"expected at most {MOST_ALTERNATIVES} combinations, found {combinations}")
    yield from (dict(each) for each in product(*choices))


def top(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Show the greatest logits that the next token is sampled from."""
    hexes, others = _flag(arguments)
    most = optional_count(others, "COUNT", SHOWN)
    session = position.place.present
    logits, tokenizer = session.next_logits, session.subject.tokenizer
    order = _ordered(session)[:most]
    table = plain_table(("rank", True), ("id", True), ("token", False), ("logit", True), ("behind the first", True))
    for rank, token in enumerate(order, start=1):
        behind = 0.0 if logits[token] == logits[order[0]] else float(logits[order[0]]) - float(logits[token])
        cells = [str(rank), str(token), token_cell(tokenizer, int(token)), exact(logits[token], hexes)]
        table.add_row(*map(Text, [*cells, f"{behind:.7g}"]))
    best = [{"id": int(token), "logit": float(logits[token])} for token in order]
    return Answer(position, {"position": session.position, "top": best}, [table])


def _ordered(session: Session) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the ids of the next logits, greatest first, ties as the profile says, NaN left out (SA-2)."""
    logits = session.next_logits
    ids = np.flatnonzero(~np.isnan(logits))
    if session.subject.profile.equal_logits == "higher id first":
        ids = ids[::-1]
    return ids[np.argsort(-logits[ids], kind="stable")]


def logits(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Show the logit of one token at every step so far, and at the next one."""
    hexes, others = _flag(arguments)
    if len(others) != 1:
        raise WrongWord('expected one token: an id such as 116, or text in quotes such as " the"')
    session = position.place.present
    token = token_of(session, others[0])
    rows = [(taken.position, taken.logits, taken.token) for taken in session.state.taken]
    if session.state.prompt_ids or not session.finished:  # logits from a file end with its last row
        rows.append((session.position, session.next_logits, -1))
    table = plain_table(("position", True), ("logit", True), ("rank", True), ("taken", False))
    document = []
    for place, values, took in rows:
        value = values[token]
        rank = None if np.isnan(value) else int(np.count_nonzero(values > value)) + 1
        document.append({"position": place, "logit": float(value), "rank": rank})
        shown = "next" if took < 0 else "this token" if took == token else named(session.subject.tokenizer, took, 16)
        if len(rows) - len(document) < SHOWN_STEPS:
            cells = [str(place), exact(value, hexes), "none" if rank is None else str(rank), shown]
            table.add_row(*map(Text, cells), style="bold green" if took == token else "")
    shown_all = [row("token", named(session.subject.tokenizer, token)), table]
    return Answer(position, {"token": token, "steps": document}, shown_all)


def rng(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Show both generators, and what the next draws give."""
    hexes, others = _flag(arguments)
    no_arguments(others)
    session = position.place.present
    state = session.state
    shown: list[RenderableType] = []
    document: dict[str, Any] = {"draws_next": state.owner}
    for owner, generator in (("generate", state.generate_generator), ("runtime", state.runtime_generator)):
        if generator is None:
            shown.append(row(owner, f"{OWNERS[owner]}: none before a prompt"))
            document[owner] = None
            continue
        marker = "  (draws next)" if owner == state.owner else ""
        shown.append(row(owner, (OWNERS[owner], "bold" if marker else ""), marker))
        shown.append(row("", f"state 0x{generator.state:016x}, {generator.draws} draws from seed {generator.seed}"))
        following, value = [], generator.state
        for _ in range(NEXT_DRAWS):
            drawn = draw(value, session.subject.profile)
            following.append({"output": f"{drawn.output:016x}", "unit": float(drawn.unit)})
            shown.append(row("", f"then 0x{drawn.output:016x}, unit {exact(drawn.unit, hexes)}"))
            value = drawn.after
        document[owner] = {
            "seed": generator.seed,
            "draws": generator.draws,
            "state": f"{generator.state:016x}",
            "next": following,
        }
    return Answer(position, document, shown)


def attention(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Show how much the last position looks at each earlier one in one head, and the map of all."""
    if len(arguments) != 2:
        raise WrongWord("expected LAYER and HEAD, both counted from 0")
    layer, head = integer(arguments[0].text, "LAYER", 0), integer(arguments[1].text, "HEAD", 0)
    session = position.place.present
    with desk.progress("computing", None):
        weights = session.attention(layer, head)
    document = {"layer": layer, "head": head, "weights": weights.tolist()}
    return Answer(position, document, attention_shown(weights, session))


def trace(desk: Desk, position: Position, arguments: Sequence[Argument]) -> Answer:
    """Show intermediates of a pass over all ids."""
    if len(arguments) > 1:
        raise WrongWord("expected one name or pattern, such as 0/attn_q or blk.*.residual")
    session = position.place.present
    with desk.progress("computing", None):
        found = session.tensors(pattern(arguments[0].text) if arguments else "*")
    if not found:
        names = [name for name in session.tensors() if not name.startswith("blk.") or name.startswith("blk.0.")]
        raise SessionError(f"no tensor fits {arguments[0].text!r}; names of layer 0: {', '.join(names)}")
    rows = [describe(name, values) for name, values in found.items()]
    return Answer(position, {"tensors": rows}, [tensors_table(rows)])


QUESTIONS: Final = Family(
    "Asking",
    (
        Word("text", "", "the text and the ids so far", "text", text),
        Word("why", "[COUNT] [--hex]", "why the last token won, stage by stage", "why --hex", why),
        Word(
            "what-if",
            "[NAME=VALUE ..] [--hex]",
            "choose the last token again under other values or options; all options without any",
            'what-if PR-3="53 high bits" temperature=0.5,1',
            what_if,
            "change",
        ),
        Word("top", "[COUNT] [--hex]", "the greatest logits for the next token", "top 5", top),
        Word("logits", "TOKEN [--hex]", "the logit of one token at every step", 'logits " the"', logits, "token"),
        Word("rng", "[--hex]", "where the generators stand, and what they draw next", "rng", rng),
        Word("attention", "LAYER HEAD", "where one head of the last pass looked", "attention 0 1", attention),
        Word("trace", "[TENSOR]", "intermediates of the pass over all ids", "trace 0/attn_q", trace, "tensor"),
    ),
)
