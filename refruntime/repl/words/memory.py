"""Words that look into the memory of the build: the first wrong number of this generation, and where a tensor lies."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from rich.console import RenderableType
from rich.text import Text

from refruntime.engines.base import EngineError
from refruntime.errors import ContractError
from refruntime.repl.node import Branches
from refruntime.repl.parameters import as_text, optional, required, whole
from refruntime.repl.tools import Tools
from refruntime.repl.words.word import WordAnswer, WordFamily, word
from refruntime.session.questions import pattern
from refruntime.session.state import SessionError
from refruntime.show.text import row
from refruntime.show.witness import details, events_table, headline, report_shown

if TYPE_CHECKING:
    from refruntime.witness.build import PositionLook, Witness


_POSITION: Final = optional(
    "at", "POSITION", whole("POSITION", 0), hint="counted from 0; without one the earliest with a wrong number"
)


@word("witness", "the first wrong number in the build's own memory, and its pattern", "witness", _POSITION)
def witness(tools: Tools, branches: Branches, at: int | None) -> WordAnswer:
    """Look for the first wrong number of the last generation, at one position or at the earliest that has one."""
    from refruntime.witness.report import document

    looked, seen = _look(tools, branches, at)
    report = document(looked, seen)
    failed = headline(report) if report["verdict"] == "wrong" else ""
    return WordAnswer(branches, report, report_shown(report), failed=failed)


@word(
    "memory",
    "where tensors lie in the build's memory, and what it holds there",
    "memory 0/attn_q",
    required("tensor", "TENSOR", as_text, "tensor", "a name or a pattern such as blk.*.attn_q"),
    _POSITION,
)
def memory(tools: Tools, branches: Branches, tensor: str, at: int | None) -> WordAnswer:
    """Show where tensors lie in the memory of the build, and what it holds there beside the oracle's numbers."""
    from refruntime.witness.report import events, numbers

    looked, seen = _look(tools, branches, at)
    wanted = pattern(tensor)
    chosen = [event for event in events(seen) if fnmatchcase(event["tensor"], wanted)]
    if not chosen:
        names = ", ".join(event["tensor"] for event in events(seen) if not event["tensor"].startswith("blk."))
        raise SessionError(f"no tensor fits {tensor!r}; there are blk.0.attn_q and others of layers, and {names}")
    report: dict[str, Any] = {"position": seen.position, "positions": len(looked.ids), "tensors": chosen}
    shown: list[RenderableType] = [row("position", f"{seen.position} of {len(looked.ids)}"), events_table(chosen)]
    if len(chosen) == 1:
        held = numbers(seen.look, chosen[0]["tensor"])
        report["numbers"] = held
        if held is not None:
            shown += [Text(f"  {label:<9}{value}") for label, value in details(held)]
    return WordAnswer(branches, report, shown)


def _look(tools: Tools, branches: Branches, at: int | None) -> tuple[Witness, PositionLook]:
    """Return a look at a position of the last generation, or at its earliest wrong one."""
    looked = _witness(tools, branches)
    if at is not None and at >= len(looked.ids):
        raise SessionError(f"position {at}: the generation has the positions 0 .. {len(looked.ids) - 1}")
    with tools.progress("looking into the build's memory", None):
        return looked, looked.earliest() if at is None else looked.at(at)


def _witness(tools: Tools, branches: Branches) -> Witness:
    """Return the witness of the generation that the calls end with; the one of the last look if it is the same."""
    if tools.build is None:
        raise SessionError("there is no build to look into; start with --wasm BUILD")
    if not tools.numerics.of_the_contract:
        raise SessionError("a build is compared in float32; start without --numerics")
    node = branches.node
    if node.unspeakable:
        raise SessionError(f"a build does only what calls do, and {node.unspeakable}")
    from refruntime.witness.build import CannotLook, Witness
    from refruntime.witness.generation import generation_of

    generation = generation_of(node.calls, tools.content)
    if generation is None:
        raise SessionError("the calls end with no generation; `prompt` and `step` or `generate` make one")
    key = tools.build.sha256, generation
    if tools.looked is None or tools.looked[0] != key:
        g = generation
        try:
            with tools.progress("running the build", None):
                arguments = g.artifact, g.prompt, g.tokens, g.sampling, tools.profile
                made = Witness(tools.build.module, *arguments, continued=g.continued, fit=tools.build.fit)
        except (CannotLook, EngineError, ContractError) as error:
            raise SessionError(f"the generation cannot be looked at: {error}") from error
        tools.looked = key, made
    looked: Witness = tools.looked[1]
    return looked


MEMORY: Final = WordFamily("The build's memory", (witness, memory))
