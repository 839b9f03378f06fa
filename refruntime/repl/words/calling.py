"""Let the oracle answer a call, and show what a host sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from refruntime.cases.observation import (
    Broken,
    Observation,
    StatusAnswer,
    ValueAnswer,
    diagnostics_of,
    is_failure,
    kind_of,
    result_of,
)
from refruntime.cases.steps import Step, describe
from refruntime.contract.status import Status
from refruntime.differential.compare import outcome
from refruntime.golden.case import step_document
from refruntime.repl.node import Branches
from refruntime.repl.tools import Tools
from refruntime.repl.words.word import WordAnswer
from refruntime.show.text import row
from refruntime.show.visible import quoted


def call(tools: Tools, branches: Branches, step: Step) -> WordAnswer:
    """Let the oracle answer a call and show what a host sees."""
    node, notes = tools.call(branches.node, step)
    observation = node.observation
    shown: list[RenderableType] = [Text(f"on the way, {note}", style="yellow") for note in notes]
    shown += [] if observation is None else observed(observation)
    return WordAnswer(branches.at(node), _document(step, observation, notes), shown)


def observed(observation: Observation) -> list[RenderableType]:
    """Return what one call answered, as people read it."""
    style = "bold red" if is_failure(observation) else "bold green"
    shown: list[RenderableType] = [row("answer", (outcome(observation), style), f"  {describe(observation.step)}")]
    result = result_of(observation)
    if result is not None:
        shown.append(row("result", quoted(result, 2000)))
    diagnostics = diagnostics_of(observation)
    if diagnostics:
        names = ("prompt_tokens", "generated_tokens", "kv_length", "selected_token", "last_error")
        shown.append(row("diagnostics", ", ".join(f"{name} {diagnostics.get(name)}" for name in names)))
    return shown


def _document(step: Step, observation: Observation | None, notes: Sequence[str]) -> dict[str, Any]:
    document: dict[str, Any] = {"call": step_document(step), "notes": list(notes)}
    if observation is None:
        return document
    if isinstance(observation, StatusAnswer):
        known = {status.value: status.name for status in Status}
        document["status"] = {"code": observation.code, "name": known.get(observation.code)}
        document["result"] = None if observation.result is None else observation.result.hex()
        document["diagnostics"] = None if observation.diagnostics is None else dict(observation.diagnostics)
        return document
    value = observation.value if isinstance(observation, ValueAnswer) else None
    detail = observation.detail if isinstance(observation, Broken) else ""
    return document | {"kind": kind_of(observation), "value": value, "detail": detail}
