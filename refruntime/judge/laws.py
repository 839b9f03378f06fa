"""Laws that need no reference: what an engine is asked in another way must have the same answer.

A model maps ids to numbers, and nothing else: not what was asked before, not how a prompt was cut, not a cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refruntime.engines.asked import AskedEngine, Way
from refruntime.judge.observed import log_probabilities
from refruntime.judge.verdict import StageFinding, StageVerdict

Rows = NDArray[Any]

GREEDY: Final = 4
"""Tokens that the greedy law follows."""


@dataclass(frozen=True)
class LawFinding:
    """Whether a law holds: EQUAL, ROUNDING, or MISMATCH from a number of tokens on, with the difference there."""

    law: str
    verdict: StageVerdict
    length: int | None = None
    difference: float = 0.0

    @property
    def text(self) -> str:
        """Return the finding in words."""
        if self.verdict is StageVerdict.EQUAL:
            return "the same numbers"
        return f"differs from {self.length} tokens on, by {self.difference:.2g} in log probability at most"


def check_laws(engine: AskedEngine, ids: Sequence[int], rounding: float) -> Iterator[LawFinding]:
    """Yield the finding of every law that an engine can be asked about. EngineError.

    `rounding` is how far rounding alone carries the numbers of a position: what lies within it is no fault, though an
    engine that computes as it says need not have it.
    """
    places = range(len(ids))
    plain = engine.rows(ids, places)

    def compared(law: str, rows: Rows, lengths: Sequence[int]) -> LawFinding:
        return _compared(engine, law, plain[[length - 1 for length in lengths]], rows, lengths, rounding)

    whole = [place + 1 for place in places]
    yield compared("asked twice", engine.rows(ids, places), whole)
    engine.rows(list(ids)[::-1], [len(ids) - 1])
    yield compared("asked again behind another text", engine.rows(ids, places), whole)
    cuts = sorted({max(1, len(ids) // 3), max(1, 2 * len(ids) // 3)}, reverse=True)
    shorter = np.stack([engine.rows(ids[:cut], [cut - 1])[0] for cut in cuts])
    yield compared("a shorter prompt behind a longer one", shorter, cuts)
    for name, way in engine.ways().items():
        yield compared(name, _asked(way, ids, places), whole)
    yield from _greedy(engine, ids, rounding)


def finding_of(law: LawFinding) -> StageFinding:
    """Return a law as a finding of a judgement."""
    facts = {} if law.length is None else {"length": law.length, "difference": law.difference}
    return StageFinding(f"law: {law.law}", law.verdict, law.text, facts)


def _asked(way: Way, ids: Sequence[int], places: Sequence[int]) -> Rows:
    return way(ids, places)


def _greedy(engine: AskedEngine, ids: Sequence[int], rounding: float) -> Iterator[LawFinding]:
    """A generated token is the best one of the numbers behind the text so far."""
    law = "generated tokens are the best of the numbers"
    path = engine.greedy(ids, GREEDY)
    if not path:
        return
    text = [*ids, *path[:-1]]
    rows = _logs(engine, engine.rows(text, range(len(ids) - 1, len(text))))
    for step, (token, row) in enumerate(zip(path, rows, strict=True)):
        short = float(np.nanmax(row) - row[token]) if token < row.size else float("inf")
        if short > 0:
            verdict = StageVerdict.ROUNDING if short <= rounding else StageVerdict.MISMATCH
            yield LawFinding(law, verdict, len(ids) + step, short)
            return
    yield LawFinding(law, StageVerdict.EQUAL)


def _compared(
    engine: AskedEngine, law: str, ours: Rows, theirs: Rows, lengths: Sequence[int], rounding: float
) -> LawFinding:
    """Compare rows of two ways to ask; equal is every bit."""
    if np.array_equal(ours, theirs, equal_nan=True):
        return LawFinding(law, StageVerdict.EQUAL)
    with np.errstate(invalid="ignore"):
        difference = np.abs(_logs(engine, ours) - _logs(engine, theirs))
    difference[np.isnan(difference)] = 0.0  # not told, or infinite both times
    largest = difference.max(axis=1)  # [T]
    if not largest.any():
        return LawFinding(law, StageVerdict.EQUAL)
    typical = np.sqrt((difference**2).mean(axis=1))
    verdict = StageVerdict.ROUNDING if typical.max() <= rounding else StageVerdict.MISMATCH
    wrong = np.flatnonzero(typical > rounding) if verdict is StageVerdict.MISMATCH else np.flatnonzero(largest)
    return LawFinding(law, verdict, min(lengths[int(place)] for place in wrong), float(largest.max()))


def _logs(engine: AskedEngine, rows: Rows) -> Rows:
    return log_probabilities(rows) if engine.kind == "logits" else rows
