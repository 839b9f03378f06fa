"""The words that ask the samplers of other runtimes, or let them draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from refruntime.repl.node import Branches, Node
from refruntime.repl.parameters import integer, named_values, number, several
from refruntime.repl.parsing import Argument, WrongWord
from refruntime.repl.tools import Tools
from refruntime.repl.words.word import WordAnswer, WordFamily, word
from refruntime.samplers.catalogue import CHAINS
from refruntime.samplers.explain import ChainExplanation
from refruntime.samplers.llama_cpp_chain import KINDS, LlamaSettings
from refruntime.session.chain_draws import ChainDraws
from refruntime.session.session import Session
from refruntime.show.terminal import explanation_shown
from refruntime.show.text import named, row

CHAIN: Final = "llama.cpp"
SHOWN: Final = 4
"""Tokens that are named behind a stage."""
VALUES: Final = named_values(
    {
        "ids": lambda text: [integer(each, "ids", 0) for each in text.split(",")],
        "min_p": lambda text: number(text, "min_p"),
    }
)


@word(
    "samplers",
    "which runtime's sampler explains the tokens so far, or others",
    "samplers ids=1,2,3",
    several("values", "[ids=1,2,3] [min_p=P]", VALUES),
)
def samplers(tools: Tools, branches: Branches, values: Mapping[str, Any]) -> WordAnswer:
    """Say which runtime's sampler explains the sampled tokens, or others in their place."""
    explanation = branches.node.present.samplers(values.get("ids"), values.get("min_p", 0.0))
    return WordAnswer(branches, dict(explanation.to_dict()), [*explanation_shown(explanation), *_notes(explanation)])


def _notes(explanation: ChainExplanation) -> list[RenderableType]:
    """Return what the first chain draws with, and what its runtime leaves open."""
    best = explanation.chains[0]
    lines: list[RenderableType] = [row("generator", f"{best.chain}: {best.generator}")]
    known = CHAINS.get(best.chain)
    if known is not None and known.open:
        lines.append(row("open", known.open))
    return [Text(""), *lines]


def _reader(name: str) -> Callable[[str], Any]:
    return (lambda text: integer(text, name)) if KINDS[name] is int else (lambda text: number(text, name))


SEED: Final[dict[str, Callable[[str], Any]]] = {"seed": lambda text: integer(text, "seed", 0)}
SETTINGS: Final = named_values({name: _reader(name) for name in KINDS} | SEED)


def _chain(arguments: Sequence[Argument]) -> ChainDraws | str:
    """Read a chain with its settings, `off`, or nothing. WrongWord."""
    if not arguments:
        return ""
    name, rest = arguments[0].text, arguments[1:]
    if name == "off" and not rest:
        return name
    if name != CHAIN:
        raise WrongWord(f"expected {CHAIN}, with settings behind it, or off; found {name!r}")
    values = SETTINGS(rest)
    seed = values.pop("seed", 1)
    return ChainDraws(LlamaSettings(**values), seed)


@word(
    "chain",
    "let llama.cpp's samplers draw, or show what each of them leaves",
    "chain llama.cpp temp=0.7 xtc_probability=0.5 seed=7",
    several("chosen", "[llama.cpp [NAME=VALUE ..] | off]", _chain, "chain"),
)
def chain(tools: Tools, branches: Branches, chosen: ChainDraws | str) -> WordAnswer:
    """Let llama.cpp's chain draw from now on, or the contract's sampler again; show what each stage leaves."""
    session = branches.node.present
    if chosen:
        session = session.chain(chosen if isinstance(chosen, ChainDraws) else None)
        branches = branches.at(Node.of(session, branches.node))
    known = session.state.chain
    if known is None:
        shown = [row("chain", "none: the sampler of the contract draws")]
        return WordAnswer(branches, {"chain": None}, shown)
    changed = {name: value for name, value in _told(known.settings).items() if value != getattr(LlamaSettings(), name)}
    said = ", ".join(f"{name} {value:g}" for name, value in changed.items()) or "its defaults"
    shown = [row("chain", f"{CHAIN} with {said}, seed {known.seed}")]
    document: dict[str, Any] = {"chain": CHAIN, "settings": _told(known.settings), "seed": known.seed}
    if session.finished or (not session.state.prompt_ids and session.state.machine.drawing is None):
        return WordAnswer(branches, document, shown)
    token, stages = session.chain_draw()
    document |= {"token": token, "stages": {name: left.ids.tolist() for name, left in stages}}
    for name, left in stages:
        shown.append(row(name, f"{left.ids.size} of {session.next_logits.size} left{_first(session, left.ids)}"))
    shown.append(row("next", (named(session.subject.tokenizer, token, 24), "bold green")))
    return WordAnswer(branches, document, shown)


def _told(settings: LlamaSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in KINDS}


def _first(session: Session, ids: Any) -> str:
    """Name the first tokens that are left, if a stage has cut some."""
    if ids.size == session.next_logits.size:
        return ""
    names = [named(session.subject.tokenizer, int(token), 16) for token in ids[:SHOWN]]
    return f": {', '.join(names)}{' ..' if ids.size > SHOWN else ''}"


SAMPLERS: Final = WordFamily("Other samplers", (samplers, chain))
