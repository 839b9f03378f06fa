"""Words that ask and change nothing: why, what if, and what the numbers are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any, Final

import numpy as np

from refruntime.repl.node import Branches
from refruntime.repl.parameters import (
    HEX,
    as_text,
    count,
    integer,
    keyed,
    named_values,
    optional,
    required,
    sampling_values,
    several,
    whole,
)
from refruntime.repl.parsing import Argument, WrongWord
from refruntime.repl.tools import Tools
from refruntime.repl.words.moves import TOKEN, token_of
from refruntime.repl.words.word import WordAnswer, WordFamily, word
from refruntime.session.what_if import WhatIf
from refruntime.show.answers import generators_shown, logits_shown, top_shown
from refruntime.show.tensors import attention_shown, describe, tensors_table
from refruntime.show.terminal import what_if_shown, why_shown
from refruntime.show.text import (
    SHOWN,
    row,
)
from refruntime.show.visible import quoted

MOST_ALTERNATIVES: Final = 256


AT: Final = keyed("at", "at", "POSITION", lambda text: integer(text, "at", 0))


def _each(read: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    return lambda written: [read(part) for part in written.split(",")]


CHANGES: Final = named_values({name: _each(read) for name, read in sampling_values().items()}, lambda text: [text])
"""Values and options to choose again under, each with all that it should be."""


@word("text", "the text and the ids so far", "text")
def text(tools: Tools, branches: Branches) -> WordAnswer:
    """Show the text and the ids so far."""
    session = branches.node.present
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
        row("positions", f"{session.position} of {session.subject.prefix_cache.capacity}"),
    ]
    return WordAnswer(branches, document, [*shown, *([row("finished", session.finished)] if session.finished else [])])


@word(
    "why",
    "why the last token won, or that of a position, stage by stage",
    "why at=11 --hex",
    count(SHOWN),
    AT,
    HEX,
    also=("w",),
)
def why(tools: Tools, branches: Branches, times: int, at: int | None, hexes: bool) -> WordAnswer:
    """Explain the last choice stage by stage, or an earlier one, without going there."""
    explained = branches.node.present.why(at)
    return WordAnswer(branches, dict(explained.to_dict()), why_shown(explained, times, hexes))


@word(
    "what-if",
    "choose the last token again under other values or options; all options without any",
    'what-if PR-3="53 high bits" temperature=0.5,1',
    several("changes", "[NAME=VALUE ..]", CHANGES, "change"),
    HEX,
)
def what_if(tools: Tools, branches: Branches, changes: Mapping[str, Any], hexes: bool) -> WordAnswer:
    """Choose the last token again under other values or options, side by side."""
    session = branches.node.present
    found = None
    for each in _alternatives(changes):
        one = session.what_if(**each)
        found = one if found is None else WhatIf(one.taken, one.chosen, (*found.alternatives, *one.alternatives))
    if found is None:
        raise WrongWord("expected NAME=VALUE, or nothing for every option")
    return WordAnswer(branches, found.to_dict(), what_if_shown(found, hexes))


def _alternatives(changes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every combination of changes: a sampling value may be several, such as temperature=0.5,1."""
    choices = [[(name, each) for each in values] for name, values in changes.items()]
    combinations = int(np.prod([len(each) for each in choices])) if choices else 1
    if combinations > MOST_ALTERNATIVES:
        raise WrongWord(f"expected at most {MOST_ALTERNATIVES} combinations, found {combinations}")
    yield from (dict(each) for each in product(*choices))


@word("top", "the greatest logits for the next token", "top 5", count(SHOWN), HEX)
def top(tools: Tools, branches: Branches, times: int, hexes: bool) -> WordAnswer:
    """Show the greatest logits that the next token is sampled from."""
    found = branches.node.present.top(times)
    return WordAnswer(branches, found.to_dict(), top_shown(found, hexes))


@word("logits", "the logit of one token at every step", 'logits " the"', TOKEN, HEX)
def logits(tools: Tools, branches: Branches, token: Argument, hexes: bool) -> WordAnswer:
    """Show the logit of one token at every step so far, and at the next one."""
    session = branches.node.present
    found = session.logits(token_of(session, token))
    return WordAnswer(branches, found.to_dict(), logits_shown(found, hexes))


@word("rng", "where the generators stand, and what they draw next", "rng", HEX)
def rng(tools: Tools, branches: Branches, hexes: bool) -> WordAnswer:
    """Show both generators, and what the next draws give."""
    found = branches.node.present.rng()
    return WordAnswer(branches, found.to_dict(), generators_shown(found, hexes))


@word(
    "attention",
    "where one head of the last pass looked",
    "attention 0 1",
    required("layer", "LAYER", whole("LAYER", 0), hint="counted from 0"),
    required("head", "HEAD", whole("HEAD", 0), hint="counted from 0"),
)
def attention(tools: Tools, branches: Branches, layer: int, head: int) -> WordAnswer:
    """Show how much the last position looks at each earlier one in one head, and the map of all."""
    with tools.progress("computing", None):
        found = branches.node.present.attention(layer, head)
    return WordAnswer(branches, found.to_dict(), attention_shown(found))


@word(
    "trace",
    "intermediates of the pass over all ids",
    "trace 0/attn_q",
    optional("tensor", "TENSOR", as_text, "*", "tensor", "a name or a pattern such as blk.*.residual"),
)
def trace(tools: Tools, branches: Branches, tensor: str) -> WordAnswer:
    """Show intermediates of a pass over all ids."""
    with tools.progress("computing", None):
        found = branches.node.present.trace(tensor)
    rows = [describe(name, values) for name, values in found.items()]
    return WordAnswer(branches, {"tensors": rows}, [tensors_table(rows)])


QUESTIONS: Final = WordFamily("Asking", (text, why, what_if, top, logits, rng, attention, trace))
