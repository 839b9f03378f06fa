"""What the oracle sampled: every step with its choice and all that it was made from, collected from its events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from refruntime.cases.observation import Observation
from refruntime.sampling import Choice
from refruntime.trace import ChoiceEvent, Event, LoadEvent


@dataclass(frozen=True)
class Sample:
    """One sampling step of the oracle: its choice, the logits [V], the ids before, the model, and the step it is in."""

    choice: Choice
    logits: NDArray[np.float32]
    ids: tuple[int, ...]
    temperature: float
    artifact: bytes = field(default=b"", repr=False)
    step: int = 0


class Samples:
    """Collect the sampling steps of a session whose `observations` come one after the other."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        self.all: list[Sample] = []
        self._observations = observations
        self._artifact = b""

    def event(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, LoadEvent):
            self._artifact = bytes(event.artifact)
        elif isinstance(event, ChoiceEvent):
            temperature, step = float(event.sampling.temperature), len(self._observations)
            self.all.append(Sample(event.choice, event.logits, event.ids, temperature, self._artifact, step))

    def before(self, step: int) -> int:
        """Return how many samples were made before a step."""
        return sum(sample.step < step for sample in self.all)
