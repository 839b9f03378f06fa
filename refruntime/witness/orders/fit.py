"""Decide form after form: which variation gives, bit by bit, what is in the memory of a build."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np

from refruntime.numerics.varied import PLAIN, Variation
from refruntime.witness.orders.evidence import Evidence
from refruntime.witness.orders.stages import STAGES, Stage, variations

FEW: Final = 8
MOST_AGAIN: Final = 100

UNSEEN: Final = 0.4
"""Of a tensor that is kept nowhere fewer of the numbers are found under every form: those that the forms share."""


@dataclass(frozen=True)
class Decision:
    """What one stage told: `tensors`, the fields that it decided, how many of the rows the chosen forms give.

    A row is given when all its numbers were in memory. `alternatives` give the same bits in all rows: they are equal on
    these widths. `nearest` are other forms with the rows that they give. A stage that was seen under no form has `seen`
    False.
    """

    tensors: tuple[str, ...]
    fields: tuple[str, ...]
    rows: int
    of: int
    seen: bool
    tried: int
    alternatives: tuple[Variation, ...] = ()
    nearest: tuple[tuple[Variation, int], ...] = ()

    @property
    def complete(self) -> bool:
        """Say whether every row is in memory."""
        return self.seen and self.rows == self.of


@dataclass(frozen=True)
class Fit:
    """The variation that was read off, with every decision; `uniform` when all that was seen follows from it."""

    variation: Variation
    decisions: tuple[Decision, ...]

    @property
    def uniform(self) -> bool:
        """Say whether the build computes every operation in one way, and all of it was read."""
        seen = [decision for decision in self.decisions if decision.seen]
        return bool(seen) and all(decision.complete for decision in seen)

    @property
    def failed(self) -> Decision | None:
        """Return the first stage whose bits no form gives."""
        return next((one for one in self.decisions if one.seen and not one.complete), None)


@dataclass(frozen=True)
class _Score:
    variation: Variation
    share: float  # of the numbers that were anywhere
    present: int  # rows whose numbers all were
    rows: int


def fit(evidence: Evidence, stages: Sequence[Stage] = STAGES, advance: Callable[[], None] = lambda: None) -> Fit:
    """Read off how a build computes."""
    layers = len(evidence.transformer.weights.model.layers)
    variation = PLAIN
    open_fields: tuple[str, ...] = ()
    decisions = []
    for stage in stages:
        names = tuple(f"blk.{layer}.{kind}" for layer in range(layers) for kind in stage.kinds)
        fields = (*open_fields, *stage.fields)
        variation, decision = _decide(evidence, variation, names, fields)
        if decision is not None:
            decisions.append(decision)
            open_fields = () if decision.seen else fields
        advance()
    return Fit(variation, tuple(decisions))


def _decide(
    evidence: Evidence, base: Variation, names: tuple[str, ...], fields: tuple[str, ...]
) -> tuple[Variation, Decision | None]:
    """Try forms of the fields until some give all rows; of several the first one, which is the simplest, is chosen.

    Among the variations with as many changes all are tried, so that those of equal bits are known.
    """
    scores: list[_Score] = []
    tried = 0
    for _, several in groupby(variations(base, fields), lambda variation: _changes(base, variation, fields)):
        candidates = list(several)
        tried += len(candidates)
        if len(candidates) > FEW:  # a first look at few positions leaves those that give as much as the best one
            first = [_score(evidence, variation, names, few=True) for variation in candidates]
            best = max(score.share for score in first)
            candidates = [score.variation for score in first if score.share >= best][:MOST_AGAIN]
        scores += [_score(evidence, variation, names) for variation in candidates]
        if not scores[0].rows:
            return base, None
        if any(score.present == score.rows for score in scores):
            break
    most, rows = max(score.present for score in scores), scores[0].rows
    if max(score.share for score in scores) < UNSEEN:
        return base, Decision(names, fields, 0, rows, False, tried)
    chosen = next(score.variation for score in scores if score.present == most)
    others = [score for score in scores if score.variation != chosen]
    equal = tuple(score.variation for score in others if most == rows == score.present)
    nearest = sorted((score for score in others if score.variation not in equal), key=lambda score: -score.present)
    counts = tuple((score.variation, score.present) for score in nearest[:3])
    return chosen, Decision(names, fields, most, rows, True, tried, equal, counts)


def _score(evidence: Evidence, variation: Variation, names: Sequence[str], few: bool = False) -> _Score:
    known = [evidence.known(row) for row in evidence.rows(variation, names, few)]
    share = float(np.concatenate(known).mean()) if known else 0.0
    return _Score(variation, share, sum(bool(row.all()) for row in known), len(known))


def _changes(base: Variation, variation: Variation, fields: tuple[str, ...]) -> int:
    return sum(getattr(base, name) != getattr(variation, name) for name in fields)
