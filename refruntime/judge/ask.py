"""Ask an engine what a judgement needs: its tokens, numbers at some positions, its greedy path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.asked import AskedEngine
from refruntime.judge.observed import ObservedRows, Sampled

SETTINGS: Final[tuple[Mapping[str, float], ...]] = (
    {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
    {"temperature": 1.5, "top_k": 0, "top_p": 0.9, "min_p": 0.0},
    {"temperature": 0.7, "top_k": 7, "top_p": 1.0, "min_p": 0.01},
)
"""Settings of samplers that are tried: all stages at once, top-p alone, top-k with min-p."""


def ask_engine(
    engine: AskedEngine,
    text: str | None,
    ids: Sequence[int],
    positions: int,
    greedy: int,
    advance: Callable[[int], object] = lambda _: None,
) -> ObservedRows:
    """Return what an engine does with a text, or with ids: numbers at its first `positions`, `greedy` tokens more.

    The numbers are those behind our ids; where its own differ, the judgement says so. An engine that takes texts alone
    and cannot be given our ids tells little of them: then they are those behind its own. EngineError.
    """
    tokens = engine.tokenize(text) if text is not None else None
    kept = tuple(ids[:positions])
    values = engine.rows(kept, range(len(kept)))
    if tokens and 2 * _told(values) < len(kept) and min(tokens) >= 0 and max(tokens) < values.shape[1]:
        own = tuple(tokens[:positions])
        others = engine.rows(own, range(len(own)))
        if _told(others) > _told(values):
            kept, values = own, others
    advance(len(kept))
    path = engine.greedy(kept, greedy) if greedy else None
    sampled = []
    for settings in SETTINGS:
        for place in sorted({len(kept) // 2, len(kept) - 1}):
            drawn = engine.sampled(kept[: place + 1], settings)
            if drawn is not None:
                sampled.append(Sampled(place, settings, drawn))
    return ObservedRows(
        source=engine.name,
        ids=kept,
        positions=tuple(range(len(kept))),
        values=values,
        kind=engine.kind,
        text=text,
        tokens=None if tokens is None else tuple(tokens),
        greedy=tuple(path or ())[:greedy],
        sampled=tuple(sampled),
    )


def _told(values: NDArray[Any]) -> int:
    """Return the number of rows [T, V] of which something is told."""
    return int((~np.isnan(values)).any(axis=1).sum())
