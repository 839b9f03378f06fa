"""Words that move on: token by token; and those that change what the next token is drawn with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import RenderableType

from refruntime.repl.node import Branches, Node
from refruntime.repl.parameters import (
    count,
    integer,
    itself,
    keyed,
    named_values,
    required,
    sampling_values,
    several,
    yes_or_no,
)
from refruntime.repl.parsing import Argument
from refruntime.repl.tools import Tools, no_progress
from refruntime.repl.words.word import WordAnswer, WordFamily, word
from refruntime.runtime import Taken
from refruntime.session.probabilities import softmax
from refruntime.session.session import Session
from refruntime.show.text import decimal, named, percent, row, sampling_text
from refruntime.show.visible import quoted

SHOWN_TOKENS: Final = 16
SHOWN_TEXT: Final = 400
TOKEN: Final = required("token", "TOKEN", itself, "token", 'an id such as 116, or text in quotes such as " dragon"')


@word(
    "prompt",
    "begin a generation",
    'prompt "Once upon a time"',
    several("text", "TEXT | ids=1,2,3", least=1, hint="in quotes, so that blanks and escapes are kept"),
    keyed("special", "special", "yes", yes_or_no("special"), default=False),
    also=("p",),
)
def prompt(tools: Tools, branches: Branches, text: Sequence[Argument], special: bool) -> WordAnswer:
    """Begin a generation with text, or with ids."""
    session = branches.node.present
    if len(text) == 1 and not text[0].quoted and text[0].text.startswith("ids="):
        begun = session.prompt(_ids(text[0].text.removeprefix("ids="), session))
    else:
        begun = session.prompt(b" ".join(argument.raw for argument in text), special)
    return _begun(tools, branches, begun)


@word(
    "chat",
    "say something, through the model's chat template; goes on behind an earlier chat",
    'chat "Why is the sky blue?" system="Answer in one sentence."',
    several("text", "TEXT", least=1, hint="in quotes"),
    keyed("system", "system", "TEXT", str),
    also=("c",),
)
def chat(tools: Tools, branches: Branches, text: Sequence[Argument], system: str | None) -> WordAnswer:
    """Say something: the prompt is what the model's chat template makes of it; behind a `chat` the talk goes on."""
    begun = branches.node.present.chat(" ".join(argument.text for argument in text), system)
    answer = _begun(tools, branches, begun)
    rendered = begun.state.said.prompt.text
    turn = sum(each["role"] == "user" for each in begun.state.said.messages)
    document = {**answer.document, "chat": rendered, "turn": turn}
    shown = [row("turn", f"{turn}; `step` samples the answer"), row("template", _cut(rendered)), *answer.shown]
    return WordAnswer(answer.branches, document, shown)


def _cut(text: str) -> str:
    raw = text.encode("utf-8", "surrogatepass")
    return quoted(raw, SHOWN_TEXT) if len(raw) <= SHOWN_TEXT else f"... {quoted(raw[-SHOWN_TEXT:], SHOWN_TEXT)}"


def _begun(tools: Tools, branches: Branches, begun: Session) -> WordAnswer:
    with tools.progress(f"reading {len(begun.ids)} ids", None):
        logits = begun.next_logits
    document = {"prompt_ids": list(begun.state.prompt_ids), "vocabulary": int(logits.size)}
    shown = [row("prompt", f"{len(begun.ids)} ids: {_shortened(begun.ids)}")]
    return WordAnswer(branches.at(Node.of(begun, branches.node)), document, shown)


def _ids(text: str, session: Session) -> list[int]:
    last = session.subject.tokenizer.vocab_size - 1
    return [integer(part, "an id", 0, last) for part in text.split(",")]


def _shortened(ids: Sequence[int]) -> str:
    shown = " ".join(map(str, ids[:SHOWN_TOKENS]))
    return shown + (f" .. {ids[-1]}" if len(ids) > SHOWN_TOKENS else "")


@word("step", "sample the next tokens", "step 5", count(1), also=("s",), repeats=True)
def step(tools: Tools, branches: Branches, times: int) -> WordAnswer:
    """Sample tokens; fewer where a stop token or the end of the context comes first."""
    node = branches.node
    begun = node.present
    taken = []
    with tools.progress("sampling", times) if times > 1 else no_progress("sampling") as advance:
        for done in range(times):
            if done and node.present.finished:
                break
            node = Node.of(node.present.step(), node)
            taken.append(node.present.last)
            advance(1)
    by = "llama.cpp's chain" if begun.state.chain is not None else ""
    return _after_tokens(branches.at(node), taken, begun, by)


@word("force", "take this token, whatever the sampler chooses", 'force " dragon"', TOKEN, repeats=True)
def force(tools: Tools, branches: Branches, token: Argument) -> WordAnswer:
    """Let the sampler choose, then take another token."""
    node = branches.node
    forced = node.present.force(token_of(node.present, token))
    return _after_tokens(branches.at(Node.of(forced, node)), [forced.last], node.present)


def token_of(session: Session, argument: Argument) -> int:
    """Return the id that an argument names: a number that is not quoted, or the text of exactly one token."""
    text = argument.text
    if not argument.quoted and text.isascii() and text.isdigit():
        return session.token_id(int(text))
    return session.token_id(argument.raw)


def _after_tokens(branches: Branches, taken: Sequence[Taken], before: Session, by: str = "") -> WordAnswer:
    session = branches.node.present
    shown: list[RenderableType] = []
    if len(taken) > SHOWN_TOKENS:
        shown.append(row("tokens", f"{len(taken)}, of which the last {SHOWN_TOKENS} follow"))
    shown += [_token_line(session, each, by) for each in taken[-SHOWN_TOKENS:]]
    shown.append(row("text", tail(session)))
    if session.finished:
        shown.append(row("finished", session.finished))
    if session.state.unspeakable and not before.state.unspeakable:
        shown.append(row("note", (f"from here on no call of a host leads: {session.state.unspeakable}", "yellow")))
    document = {
        "tokens": [token_document(session, each) for each in taken],
        "text": session.text.hex(),
        "finished": session.finished,
        "unspeakable": session.state.unspeakable,
    }
    if by:
        document["drawn_by"] = by
    return WordAnswer(branches, document, shown)


def token_document(session: Session, taken: Taken) -> dict[str, Any]:
    """Return a taken token as plain values."""
    return {
        "position": taken.position,
        "token": taken.token,
        "bytes": session.subject.tokenizer.decode([taken.token]).hex(),
        "sampler_token": taken.choice.token,
        "forced": taken.forced,
        "owner": taken.owner,
        "greedy": taken.choice.greedy_reason,
        "logit": float(taken.logits[taken.token]),
    }


def _token_line(session: Session, taken: Taken, by: str) -> RenderableType:
    choice, tokenizer = taken.choice, session.subject.tokenizer
    chance = percent(softmax(taken.logits)[taken.token])
    how = f"{chance}, logit {decimal(taken.logits[taken.token])}"
    if by:
        how += f", drawn by {by}"
    elif taken.forced:
        how = f"{chance}, forced; the sampler chose {named(tokenizer, choice.token, 24)}"
    elif choice.drawn is not None:
        drawn = choice.drawn
        how += f", coin {decimal(drawn.draw.unit)}, candidate {drawn.pick.index + 1} of {drawn.cut.kept}"
    else:
        how += f", greedy: {choice.greedy_reason}"
    style = "bold yellow" if taken.forced and not by else "bold green"
    return row(f"{taken.position}", (named(tokenizer, taken.token, 24), style), f"  {how}")


def tail(session: Session) -> str:
    """Return the text that was generated, or the end of a long one."""
    text = session.text
    return quoted(text, SHOWN_TEXT) if len(text) <= SHOWN_TEXT else f"... {quoted(text[-SHOWN_TEXT:], SHOWN_TEXT)}"


@word(
    "set",
    "change sampling values",
    "set temperature=0.8 top_k=40",
    several("values", "[NAME=VALUE ..]", named_values(sampling_values()), "sampling"),
)
def set_sampling(tools: Tools, branches: Branches, values: Mapping[str, Any]) -> WordAnswer:
    """Change sampling values and keep the others; without arguments show them."""
    session = branches.node.present
    if values:
        session = session.set(**values)
        branches = branches.at(Node.of(session, branches.node))
    sampling = session.state.sampling
    shown = [row("sampling", sampling_text(sampling))]
    if values and session.state.taken:
        shown.append(row("note", "the next tokens are calls of generate_next_token, with its own generator (NT-4)"))
    return WordAnswer(branches, {"sampling": sampling.to_dict(), "owner": session.state.owner}, shown)


MOVES: Final = WordFamily("Moving", (prompt, chat, step, force, set_sampling))
