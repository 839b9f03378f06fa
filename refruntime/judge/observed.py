"""What an engine was seen to do with a model: the numbers that a judgement is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.asked import Kind

Float64 = NDArray[np.float64]

FEW_DECIMALS: Final = 7


@dataclass(frozen=True)
class Sampled:
    """What an engine draws from behind the ids up to `position`, under settings: token -> probability."""

    position: int
    settings: Mapping[str, float]
    probabilities: Mapping[int, float]


@dataclass(frozen=True)
class ObservedRows:
    """Rows of numbers behind `ids`: `values` [T, V'] at `positions` [T], NaN where the engine does not say.

    `tokens` are the engine's own ids of `text`. `greedy` are the tokens that it appended to `ids` at temperature 0.
    """

    source: str
    ids: tuple[int, ...]
    positions: tuple[int, ...]
    values: NDArray[Any]
    kind: Kind = "logits"
    text: str | None = None
    tokens: tuple[int, ...] | None = None
    greedy: tuple[int, ...] = ()
    sampled: tuple[Sampled, ...] = ()

    @property
    def vocabulary(self) -> int:
        """Return how many tokens a row speaks of."""
        return int(self.values.shape[1])

    def told(self) -> int:
        """Return how many numbers there are."""
        return int(np.count_nonzero(~np.isnan(self.values)))


@dataclass(frozen=True)
class Grid:
    """The numbers that a source can write: `name` says which; `place` puts others onto them."""

    name: str

    def place(self, values: NDArray[Any]) -> Float64:
        """Round values as the source does."""
        with np.errstate(all="ignore"):
            if self.name == "float16":
                halves: Float64 = values.astype(np.float16).astype(np.float64)
                return halves
            if self.name == "bfloat16":
                bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
                rounded = (bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))) & np.uint32(0xFFFF0000)
                return rounded.view(np.float32).astype(np.float64)
            if self.name.endswith("decimals"):
                return np.asarray(np.round(values.astype(np.float64), int(self.name.split()[0])), np.float64)
        return np.asarray(values, np.float64)


def grid_of(values: NDArray[Any]) -> Grid:
    """Return the coarsest grid on which all numbers lie: float16, bfloat16, few decimals, or as they are."""
    known = values[np.isfinite(values)].astype(np.float64)
    if known.size:
        for name in ("bfloat16", "float16", *(f"{decimals} decimals" for decimals in range(1, FEW_DECIMALS))):
            if np.array_equal(Grid(name).place(known), known):
                return Grid(name)
    return Grid("as they are")


def log_probabilities(values: NDArray[Any]) -> Float64:
    """Return log probabilities of logits: [T, V] -> [T, V]."""
    with np.errstate(all="ignore"):
        exact = values.astype(np.float64)
        exact = exact - exact.max(axis=1, keepdims=True)
        logs: Float64 = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    return logs
