"""The demonstration in a screenful: what a right build answers, why a token won, what is wrong with a wrong build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from refruntime.cases.observation import result_of
from refruntime.cases.steps import Case, Configure, Generate, Load
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.differential.report.case import sentence
from refruntime.differential.run import Oracle, observe, run_pair
from refruntime.exports import ExportedABI
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.hypothesis import Hypothesis, varied_engine
from refruntime.session.session import Session
from refruntime.session.why import Why
from refruntime.show.text import decimal
from refruntime.show.visible import quoted
from refruntime.trace import Event, TensorEvent

PROMPT: Final = b"Once upon a time"
SAMPLING: Final = (0.9, 40, 0.95, 7)
NEW_TOKENS: Final = 48
WRONG: Final = "scale-hidden"
"""The known fault that the wrong runtime of the story has."""

SHOWN: Final = 3
BAR: Final = 24
LABEL: Final = 29
NUMBERS: Final = 37
"""Columns of a candidate beside label and bar: its edges and its fate."""


@dataclass(frozen=True)
class FirstWrong:
    """The first number of a forward pass that another runtime computes otherwise."""

    tensor: str
    position: int
    place: tuple[int, ...]
    expected: np.float32
    found: np.float32


class _Tensors:
    """Keep every tensor of a pass."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]] = []

    def event(self, event: Event) -> None:
        if isinstance(event, TensorEvent):
            self.seen.append((event.name, event.position, np.array(event.values())))


def tell(console: Console, model: bytes, name: str, profile: Profile) -> list[str]:
    """Tell the story on a console; return what was not as expected."""
    surprises = _answers(console, model, profile)
    if surprises:
        return surprises
    _why(console, model, name, profile)
    return _wrong_build(console, model, profile)


def _heading(console: Console, text: str) -> None:
    console.print(Text(f"\n{text}", style="bold cyan"), soft_wrap=len(text) <= console.width)


def _line(console: Console, label: str, *parts: str | tuple[str, str]) -> None:
    grid = Table.grid()
    grid.add_column(width=LABEL + 2, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(f"  {label}"), Text.assemble(*parts))
    console.print(grid)


# What a right build answers ------------------------------------------------------------------------------------------


def _answers(console: Console, model: bytes, profile: Profile) -> list[str]:
    _heading(console, "It answers as a right build does, through the same 13 exports, bit for bit")
    abi = ExportedABI(profile)
    surprises: list[str] = []

    def told(call: str, found: int, more: str = "") -> Status:
        status = Status(found)
        _line(console, call, f"{int(status)} {status.name}", f"  {more}" if more else "")
        return status

    def sent(data: bytes, export: str, *rest: int) -> int:
        pointer = abi.alloc(len(data))
        abi.write(pointer, data)
        found: int = getattr(abi, export)(pointer, len(data), *rest)
        abi.dealloc(pointer, len(data))
        return found

    if told("load_model", sent(model, "load_model"), f"{len(model):,} bytes") is not Status.Ok:
        surprises.append("load_model: expected Ok")
    temperature, top_k, top_p, seed = SAMPLING
    found = abi.set_sampling_config(*SAMPLING)
    if told("set_sampling_config", found, f"{temperature}, {top_k}, {top_p}, seed {seed}") is not Status.Ok:
        surprises.append("set_sampling_config: expected Ok")
    texts = []
    for _ in range(2):
        found = sent(PROMPT, "generate", NEW_TOKENS)
        texts.append((found, abi.read(abi.last_result_ptr(), abi.last_result_len())))
    told(f"generate({quoted(PROMPT)})", texts[0][0], quoted(texts[0][1], 40))
    told("generate, same seed", texts[1][0], "the same" if texts[0] == texts[1] else "ANOTHER ANSWER")
    if texts[0] != texts[1]:
        surprises.append("generate: expected the same answer from the same seed (GEN-7)")
    return surprises


# Why a token won -----------------------------------------------------------------------------------------------------


def _why(console: Console, model: bytes, name: str, profile: Profile) -> None:
    temperature, top_k, top_p, seed = SAMPLING
    session = Session(model, profile, name=name).set(temperature, top_k, top_p, seed).prompt(PROMPT)
    widest: Why | None = None
    for _ in range(NEW_TOKENS):
        if session.finished:
            break
        session = session.step()
        why = session.why()
        if widest is None or _open(why) > _open(widest):
            widest = why
    drawn = widest.choice.drawn if widest is not None else None
    if widest is None or drawn is None:
        return
    _heading(console, "It says why a token won, with the numbers that the sampler used")
    kept, mass, point = drawn.cut.kept, float(drawn.cut.mass), float(drawn.pick.point)
    text = quoted(session.subject.tokenizer.decode([widest.choice.token]))
    _line(
        console,
        f"{text} at position {widest.taken.position}",
        f"the coin fell on {point:.6g} of {mass:.6g}, {kept} were kept",
    )
    most = max(0, min(BAR, console.width - LABEL - NUMBERS))
    reached = np.float32(0)
    for each in widest.telling(1)[: SHOWN + 2]:
        if each.weight is None or each.low is None or each.high is None:
            continue
        if each.low != reached:
            console.print("    \u22ee")
        bar = "#" * max(1, round(most * float(each.weight))) if most else ""
        style = "bold green" if each.fate == "won" else ""
        edges = f"{float(each.low):.6f} to {float(each.high):.6f}"
        _line(console, f"  {quoted(each.raw)}", (f"{edges}  {bar:<{most}} {each.fate}", style))
        reached = each.high


def _open(why: Why) -> int:
    """Return how many candidates the coin decided between, at most what is shown: the story wants a real choice."""
    return 0 if why.choice.drawn is None else min(why.choice.drawn.cut.kept, SHOWN * 2)


# A wrong build -------------------------------------------------------------------------------------------------------


def _wrong_build(console: Console, model: bytes, profile: Profile) -> list[str]:
    fault = next(each for each in catalogue(profile) if each.name == WRONG)
    _heading(console, f"It finds the first wrong number of a wrong build: {fault.text}")
    oracle = Oracle(profile)
    case = Case("demo", (Load("model"), Configure(*SAMPLING), Generate(PROMPT, NEW_TOKENS)), {"model": model})
    run = run_pair(case, varied_engine(fault.changes, oracle), oracle.engine(), profile)
    first = run.comparison.first
    if first is None:
        _line(console, "generate", "MATCH: this model hides the fault")
        return []
    wrong = first_wrong_number(model, fault, oracle)
    theirs = result_of(run.build[first.index])
    _line(console, "the build's text", quoted(theirs or b"", 44))
    _line(
        console,
        "MISMATCH",
        (f"in step {first.index}, {', '.join(each.field for each in run.comparison.differences)}", "bold red"),
    )
    if wrong is None:
        return [f"the fault {fault.text} changes no number"]
    place = ", ".join(map(str, wrong.place))
    _line(console, "first wrong number", (f"{wrong.tensor}[{place}] at position {wrong.position}", "bold red"))
    _line(console, "  right, wrong", f"{decimal(wrong.expected)}, {decimal(wrong.found)}")
    _line(console, f"  rule {fault.rule}", sentence(fault.rule))
    return []


def first_wrong_number(model: bytes, fault: Hypothesis, oracle: Oracle) -> FirstWrong | None:
    """Return the first number behind the prompt that a runtime with this fault computes otherwise; None for none."""
    case = Case("demo", (Load("model"), Generate(PROMPT, 1)), {"model": model})
    right, wrong = _Tensors(), _Tensors()
    observe(case, oracle.engine(tracer=right), oracle.profile)
    observe(case, varied_engine(fault.changes, oracle, wrong), oracle.profile)
    for (name, position, mine), (_, _, theirs) in zip(right.seen, wrong.seen, strict=False):
        if mine.shape != theirs.shape or mine.tobytes() == theirs.tobytes():
            continue
        differing = np.argwhere(mine.view(np.uint32) != theirs.view(np.uint32))[0]
        place = tuple(int(each) for each in differing)
        return FirstWrong(name, position, place, mine[place], theirs[place])
    return None
