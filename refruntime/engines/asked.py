"""Engines that are asked for tokens and numbers, not for the 13 exports: what every adapter answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from refruntime.engines.base import EngineError

Way = Callable[[Sequence[int], Sequence[int]], NDArray[Any]]
"""Ids and positions give the numbers behind them, as `rows` does."""

Kind = Literal["logits", "log probabilities"]


class EngineAnswer(EngineError):
    """An engine answered with something else than its interface says, or with an error of its own."""


class AskedEngine(Protocol):
    """An engine with a model loaded. Failures: EngineError, with what to do next."""

    @property
    def name(self) -> str:
        """Return what the engine calls itself."""

    @property
    def kind(self) -> Kind:
        """Say what `rows` returns."""

    def tokenize(self, text: str) -> list[int] | None:
        """Return the ids of a prompt with what the engine adds, None where it cannot be asked."""

    def rows(self, ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
        """Return the numbers behind ids at some positions [T, V'], NaN where the engine does not say."""

    def greedy(self, ids: Sequence[int], count: int) -> list[int] | None:
        """Return the tokens that follow at temperature 0, at most `count`, None where it cannot be asked."""

    def sampled(self, ids: Sequence[int], settings: Mapping[str, float]) -> dict[int, float] | None:
        """Return what a token is drawn from behind ids: token -> probability, None where it cannot be asked.

        `settings` are temperature, top_k, top_p and min_p.
        """

    def ways(self) -> Mapping[str, Way]:
        """Return other ways to ask for the same rows, by a name in words: a cache reused, a prompt in parts, ..."""

    def close(self) -> None:
        """Let the engine go."""
