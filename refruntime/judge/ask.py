"""Ask an engine what a judgement needs: its tokens, numbers at some positions, its greedy path."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from refruntime.engines.asked import AskedEngine
from refruntime.judge.observed import Observed


def ask_engine(
    engine: AskedEngine,
    text: str | None,
    ids: Sequence[int],
    positions: int,
    greedy: int,
    advance: Callable[[int], object] = lambda _: None,
) -> Observed:
    """Return what an engine does with a text, or with ids: numbers at its first `positions`, `greedy` tokens more.

    The numbers are those behind our ids; where its own differ, the judgement says so. EngineError.
    """
    tokens = engine.tokenize(text) if text is not None else None
    kept = tuple(ids[:positions])
    values = engine.rows(kept, range(len(kept)))
    advance(len(kept))
    path = engine.greedy(kept, greedy) if greedy else None
    return Observed(
        source=engine.name,
        ids=kept,
        positions=tuple(range(len(kept))),
        values=values,
        kind=engine.kind,
        text=text,
        tokens=None if tokens is None else tuple(tokens),
        greedy=tuple(path or ()),
    )
