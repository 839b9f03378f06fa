"""Trace events and the protocol of those who listen; no collector lives here.

Every arrow of the data flow emits one event in every numeric profile. That is what localises the first wrong number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class TensorEvent:
    """A tensor was computed: `name` such as `blk.1.attn.scores`, first `position`, `values()` gives a copy.

    `replace(values)` puts other numbers in its place, for all that is computed from it; None where that cannot be.
    """

    name: str
    position: int
    shape: tuple[int, ...]
    values: Callable[[], Any]
    replace: Callable[[Any], object] | None = None


@dataclass(frozen=True)
class TokensEvent:
    """Token ids passed an arrow: `name` is `prompt` (after GEN-2)."""

    name: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class ChoiceEvent:
    """A token was sampled: `choice` is the `refruntime.sampling.Choice` with every stage, `position` its place.

    It was made from `logits` float32 [V], under the `refruntime.sampling.SamplingConfig` `sampling`, behind `ids`.
    """

    position: int
    choice: Any
    logits: Any
    sampling: Any
    ids: tuple[int, ...]


@dataclass(frozen=True)
class LoadEvent:
    """A model is about to be loaded: `artifact` is a view of its bytes, to be copied by those who keep it."""

    artifact: Any


Event = TensorEvent | TokensEvent | ChoiceEvent | LoadEvent


class Tracer(Protocol):
    """Receive events; an implementation decides what to keep."""

    def event(self, event: Event) -> None:
        """Take one event."""
