"""The step language: what a caller does, as data. Files, reports, fuzzing and people use the same steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Argument = int | float | str
"""A host number, or a bound name with an optional offset such as `buffer` or `buffer+4`."""


def split_place(argument: str) -> tuple[str, int]:
    """Return the bound name and the offset of an argument such as `buffer+4`."""
    name, _, offset = argument.partition("+")
    return name, int(offset or 0)


@dataclass(frozen=True)
class Call:
    """Call any export with raw arguments; `bind` names its result, such as a pointer of `alloc`."""

    export: str
    arguments: tuple[Argument, ...] = ()
    bind: str | None = None


@dataclass(frozen=True)
class Write:
    """Write bytes at a bound pointer."""

    to: str
    data: bytes


@dataclass(frozen=True)
class Load:
    """Transfer the model `model` of the case and call `load_model`; the transfer buffer is freed afterwards."""

    model: str


@dataclass(frozen=True)
class Configure:
    """Call `set_sampling_config`."""

    temperature: float = 0.0
    top_k: int = 1
    top_p: float = 1.0
    seed: int = 1


@dataclass(frozen=True)
class Generate:
    """Transfer a prompt and call `generate`; the transfer buffer is freed afterwards."""

    prompt: bytes
    max_new_tokens: int


Step = Call | Write | Load | Configure | Generate

INIT = Call("init_runtime")
NEXT_TOKEN = Call("generate_next_token")
RESET = Call("reset_context")
FREE = Call("free_model")


@dataclass(frozen=True)
class Case:
    """A replayable session: `name` such as `generate/probe-64`, the models it loads by name, and its steps."""

    name: str
    steps: tuple[Step, ...]
    models: Mapping[str, bytes] = field(default_factory=dict)
    rules: tuple[str, ...] = ()


def describe(step: Step) -> str:
    """Return one line for people."""
    if isinstance(step, Call):
        bound = f" -> {step.bind}" if step.bind else ""
        return f"{step.export}({', '.join(map(str, step.arguments))}){bound}"
    if isinstance(step, Write):
        return f"write {len(step.data)} bytes to {step.to}"
    if isinstance(step, Load):
        return f"load_model {step.model}"
    if isinstance(step, Configure):
        return f"set_sampling_config({step.temperature}, {step.top_k}, {step.top_p}, {step.seed})"
    return f"generate({step.prompt[:40]!r}, {step.max_new_tokens})"
