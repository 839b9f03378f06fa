"""What a sampler of another runtime is: settings, stages in their order, a draw; and what one step of it left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refruntime.samplers.stages import Candidates, Float32


class SamplerError(ValueError):
    """A chain does not take these settings or logits; the message says which."""


@dataclass(frozen=True)
class Settings:
    """What people set: top_k 0, top_p 1 and min_p 0 cut nothing, temperature 0 takes the greatest. SamplerError."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise SamplerError(f"temperature: expected a finite number >= 0, found {self.temperature}")
        if not 0 <= self.top_k < 2**31:
            raise SamplerError(f"top_k: expected 0 .. 2^31 - 1, found {self.top_k}")
        for name, share in (("top_p", self.top_p), ("min_p", self.min_p)):
            if not 0 <= share <= 1:
                raise SamplerError(f"{name}: expected 0 .. 1, found {share}")
        if not 0 <= self.seed < 2**64:
            raise SamplerError(f"seed: expected 0 .. 2^64 - 1, found {self.seed}")


Function = Callable[[Candidates, Settings, int], Candidates]
"""A stage: candidates, settings and the size of the vocabulary give the candidates that are left."""

Pick = Callable[[Float32, float], int]
"""Weights [R] and a unit value in [0, 1) give the place that is drawn."""


@dataclass(frozen=True)
class Run:
    """One step of a chain: what each stage left, by name, and the weights that the draw is made from.

    `greedy` says that nothing is drawn.
    """

    stages: tuple[tuple[str, Candidates], ...]
    greedy: bool
    pick: Pick

    @property
    def candidates(self) -> Candidates:
        """Return what is left in the end, in the order of the draw."""
        return self.stages[-1][1]

    @cached_property
    def probabilities(self) -> Mapping[int, float]:
        """Return token -> probability of what can be drawn."""
        weights = self.candidates.weighed.astype(np.float64)
        shares = weights / weights.sum()
        return {int(token): float(share) for token, share in zip(self.candidates.ids, shares, strict=True) if share > 0}

    def probability(self, token: int) -> float:
        """Return the probability of a token, 0 for one that was cut."""
        return self.probabilities.get(token, 0.0)

    def cut_by(self, token: int) -> str:
        """Return the name of the stage that cut a token, empty for one that can be drawn."""
        for name, left in self.stages:
            if token not in left.ids:
                return name
        return "" if self.probability(token) > 0 else self.stages[-1][0]

    def interval(self, token: int) -> tuple[float, float] | None:
        """Return between which unit values a token is drawn, None for one that was cut."""
        places = np.flatnonzero(self.candidates.ids == token)
        if not places.size or not self.probability(token):
            return None
        running = np.cumsum(self.candidates.weighed, dtype=np.float64)
        low = running[places[0] - 1] if places[0] else 0.0
        return float(low / running[-1]), float(running[places[0]] / running[-1])

    def token(self, unit: float) -> int:
        """Return the token that a unit value in [0, 1) draws."""
        return int(self.candidates.ids[self.pick(self.candidates.weighed, unit)])


@dataclass(frozen=True)
class Chain:
    """A sampler of another runtime.

    `generator` says what draws, and `units` are its values for a seed, None where they are not repeated here; a unit
    value is then an input. `open` is what the runtime's source leaves to a library, `min_p` if it knows that setting.
    """

    name: str
    order: tuple[tuple[str, Function], ...]
    greedy: Callable[[Candidates], Candidates]
    greedy_below: float
    pick: Pick
    generator: str
    units: Callable[[int], Iterator[float]] | None = None
    open: str = ""
    min_p: bool = True

    @property
    def stages(self) -> tuple[str, ...]:
        """Return the names of the stages in their order."""
        return tuple(name for name, _ in self.order)

    def refuses(self, settings: Settings) -> str:
        """Say why this runtime cannot have these settings, empty if it can."""
        return f"{self.name} has no min_p" if settings.min_p > 0 and not self.min_p else ""

    def run(self, logits: Float32, settings: Settings) -> Run:
        """Apply the stages to logits [V]. SamplerError for settings it refuses, and for logits without an order."""
        reason = self.refuses(settings)
        if not reason and not np.isfinite(logits.max(initial=-np.inf)):  # NaN is the maximum if there is one
            reason = f"{self.name} does not define what happens with NaN, infinite or only -infinite logits"
        if reason:
            raise SamplerError(reason)
        return self._run(logits, settings)

    def _run(self, logits: Float32, settings: Settings) -> Run:
        left = Candidates.of(logits)
        if settings.temperature < self.greedy_below:
            chosen = self.greedy(left)
            only = Candidates(chosen.ids, chosen.logits, np.ones(1, np.float32))
            return Run((("greedy", only),), True, self.pick)
        done = []
        for name, function in self.order:
            left = function(left, settings, logits.size)
            done.append((name, left))
        return Run(tuple(done), False, self.pick)
