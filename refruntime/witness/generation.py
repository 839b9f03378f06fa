"""Which generation of a host's calls can be looked into: a `generate` with the continuations behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Final

from refruntime.cases.steps import (
    FREE,
    INIT,
    NEXT_TOKEN,
    RESET,
    Argument,
    Call,
    Configure,
    Generate,
    Load,
    Step,
    Write,
    split_place,
)
from refruntime.witness.oracle import Sampling


@dataclass(frozen=True)
class GenerationRequest:
    """One generation: model, configuration, prompt, how many tokens were asked for, how many continuations follow."""

    artifact: bytes
    sampling: Sampling
    prompt: bytes
    tokens: int
    continued: int


def generation_of(steps: Sequence[Step], model: Callable[[str], bytes]) -> GenerationRequest | None:
    """Return the generation that the last of some steps belongs to; None if there is none, or no model was loaded.

    A host that writes and calls for itself is understood, too.
    """
    artifact, configured, prompt, tokens, continued = b"", Sampling(*_DEFAULT), b"", 0, 0
    written = _Written()
    for step in steps:
        if isinstance(step, Load):
            artifact, prompt = model(step.model), b""
        elif isinstance(step, Configure):
            configured = Sampling(step.temperature, step.top_k, step.top_p, step.seed)
        elif isinstance(step, Generate):
            prompt, tokens, continued = step.prompt, step.max_new_tokens, 0
        elif isinstance(step, Write):
            written.write(step)
        elif step.export == "load_model":
            artifact, prompt = written.read(*step.arguments[:2]), b""
        elif step.export == "set_sampling_config":
            configured = _sampling(step.arguments) or configured
        elif step.export == "generate":
            prompt, continued = written.read(*step.arguments[:2]), 0
            tokens = _count(step.arguments[2:])
        elif step.export == NEXT_TOKEN.export:
            continued += 1
        elif step.export in (RESET.export, FREE.export, INIT.export):
            prompt = b""
    if not artifact or not prompt or tokens < 1:
        return None
    return GenerationRequest(artifact, configured, prompt, tokens, continued)


def generates(steps: Iterable[Step]) -> bool:
    """Say whether any of some steps generates."""
    return any(
        isinstance(step, Generate) or (isinstance(step, Call) and step.export in ("generate", NEXT_TOKEN.export))
        for step in steps
    )


class _Written:
    """What a host wrote, by the name of the pointer and the offset."""

    def __init__(self) -> None:
        self._bytes: dict[str, dict[int, bytes]] = {}

    def write(self, step: Write) -> None:
        """Note bytes; those that were written at the same place before are gone."""
        name, offset = split_place(step.to)
        self._bytes.setdefault(name, {})[offset] = step.data

    def read(self, place: Argument = "", length: Argument = 0) -> bytes:
        """Return the bytes that were written at a place as a whole; empty if these are not all."""
        if not isinstance(place, str) or not isinstance(length, int):
            return b""
        name, offset = split_place(place)
        data = self._bytes.get(name, {}).get(offset, b"")[: max(length, 0)]
        return data if len(data) == length else b""


def _sampling(arguments: Sequence[Argument]) -> Sampling | None:
    """Return a configuration of raw arguments; None if one of them is no number, or one is wanting."""
    numbers = [each for each in arguments if not isinstance(each, str)]
    if len(numbers) != len(_DEFAULT):
        return None
    temperature, top_k, top_p, seed = numbers
    return Sampling(float(temperature), int(top_k), float(top_p), int(seed))


def _count(arguments: Sequence[Argument]) -> int:
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0


_DEFAULT: Final = astuple(Configure())
