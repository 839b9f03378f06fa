"""Decide form after form: which variation gives, bit by bit, what is in the memory of a build."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

import numpy as np

from refruntime.numerics.varied import PLAIN, SUMS, Variation
from refruntime.witness.orders.evidence import OrderEvidence
from refruntime.witness.orders.stages import STAGES, Stage, variations

FEW: Final = 8
LOOKS: Final = (2, 6)
MOST_AGAIN: Final = 100
MOST_OPEN: Final = 64
"""So many variations that agree on all that was seen are kept, to be told apart by what follows."""

BASES: Final = 3
"""From so many of them a search starts, the most uniform ones first."""

MOST_UNSEEN: Final = 2
"""One stage more of which nothing is seen ends the search: something is wrong, not just kept nowhere."""

UNSEEN: Final = 0.4
"""Of a tensor that is kept nowhere fewer of the numbers are found under every form: those that the forms share."""


@dataclass(frozen=True)
class StageDecision:
    """What one stage told: `tensors`, the fields that it may decide, how many of the rows the best form gives.

    A row is given when all its numbers were in memory. `nearest` are other forms with the rows that they give. A stage
    that was seen under no form has `seen` False.
    """

    tensors: tuple[str, ...]
    fields: tuple[str, ...]
    rows: int
    of: int
    seen: bool
    tried: int
    nearest: tuple[tuple[Variation, int], ...] = ()

    @property
    def complete(self) -> bool:
        """Say whether every row is in memory."""
        return self.seen and self.rows == self.of


@dataclass(frozen=True)
class Fit:
    """The variation that was read off, with every decision up to the first that no form explains.

    `equal` are other variations that give the same bits in all that was seen: which of them it is these widths do not
    tell. The chosen one is the most uniform, then the simplest.
    """

    variation: Variation
    decisions: tuple[StageDecision, ...]
    equal: tuple[Variation, ...] = ()

    @property
    def uniform(self) -> bool:
        """Say whether the build computes every operation in one way, and all of it was read."""
        return bool(self.decisions) and self.failed is None

    @property
    def failed(self) -> StageDecision | None:
        """Return the first stage behind which nothing is explained by any form."""
        explained = _explained(self.decisions)
        return self.decisions[explained] if explained < len(self.decisions) else None

    def equal_forms(self, name: str) -> tuple[str, ...]:
        """Return the other forms of an operation that give the same bits here."""
        forms = dict.fromkeys(str(getattr(other, name)) for other in self.equal)
        forms.pop(str(getattr(self.variation, name)), None)
        return tuple(forms)


def _explained(decisions: Sequence[StageDecision]) -> int:
    """Return the number of decisions up to the last one that is complete."""
    return max((index + 1 for index, decision in enumerate(decisions) if decision.complete), default=0)


@dataclass(frozen=True)
class _Score:
    variation: Variation
    share: float  # of the numbers that were anywhere
    present: int  # rows whose numbers all were
    rows: int
    missing: tuple[int, ...] = ()  # positions of the others

    @property
    def complete(self) -> bool:
        return self.rows > 0 and self.present == self.rows


def fit(evidence: OrderEvidence, stages: Sequence[Stage] = STAGES, advance: Callable[[], None] = lambda: None) -> Fit:
    """Read off how a build computes; ends behind the first stage that no form explains, since all else follows it."""
    layers = len(evidence.transformer.weights.model.layers)
    open_variations = [PLAIN]
    undecided: tuple[str, ...] = ()
    decisions: list[StageDecision] = []
    for stage in stages:
        names = tuple(f"blk.{layer}.{kind}" for layer in range(layers) for kind in stage.kinds)
        fields = (*undecided, *stage.fields)
        open_variations, decision = _decide(evidence, open_variations, names, fields, decisions)
        advance()
        if decision is None:
            continue
        decisions.append(decision)
        if (decision.seen and not decision.complete) or len(decisions) - _explained(decisions) > MOST_UNSEEN:
            break
        undecided = () if decision.seen else fields
    return Fit(open_variations[0], tuple(decisions), tuple(open_variations[1:]))


def _decide(
    evidence: OrderEvidence,
    agreeing: list[Variation],
    names: tuple[str, ...],
    fields: tuple[str, ...],
    before: Sequence[StageDecision],
) -> tuple[list[Variation], StageDecision | None]:
    """Keep those of the variations that give all rows; where none does, search for forms of the fields that do.

    Where none of those does either, an operation of a stage before may have another form that gave the same bits there.
    """
    scores = [_score(evidence, variation, names) for variation in agreeing]
    if not scores[0].rows:
        return agreeing, None
    tried = len(scores)
    for base in agreeing[:BASES] if fields else ():
        if any(score.complete for score in scores):
            break
        found, count = _search(evidence, base, names, fields)
        tried += count
        scores += found
        forms = [{name: getattr(score.variation, name) for name in fields} for score in found if score.complete]
        others = [replace(other, **form) for form in forms for other in agreeing if other != base][:MOST_AGAIN]
        scores += [_score(evidence, variation, names) for variation in others]
    if not any(score.complete for score in scores):
        found = _revised(evidence, agreeing, names, before)
        tried += len(found)
        scores += found
    scores = list({score.variation: score for score in scores}.values())
    rows, best = scores[0].rows, max(scores, key=lambda score: (score.present, score.share))
    if best.share < UNSEEN:
        return agreeing, StageDecision(names, fields, 0, rows, False, tried)
    kept = sorted(
        (score.variation for score in scores if score.complete),
        key=lambda variation: len({getattr(variation, name) for name in SUMS}),
    )
    rest = sorted((score for score in scores if not score.complete), key=lambda score: -score.present)
    nearest = tuple((score.variation, score.present) for score in rest if score != best)[:3]
    decision = StageDecision(names, fields, best.present, rows, True, tried, nearest)
    return kept[:MOST_OPEN] or [best.variation], decision


def _revised(
    evidence: OrderEvidence, agreeing: Sequence[Variation], names: tuple[str, ...], before: Sequence[StageDecision]
) -> list[_Score]:
    """Return variations in one form of the stages before that give all rows of these tensors and of those."""
    done = [decision for decision in before if decision.complete]
    base, fields = agreeing[0], dict.fromkeys(name for each in done for name in each.fields if name not in SUMS)
    forms = [(name, form) for name in fields for form in base.options(name) if form != getattr(base, name)]
    fit_here = [each for each in forms if _score(evidence, replace(base, **dict([each])), names).complete]
    scores = [_score(evidence, replace(other, **{name: form}), names) for name, form in fit_here for other in agreeing]
    return [
        score
        for score in scores
        if score.complete and all(_score(evidence, score.variation, each.tensors).complete for each in done)
    ]


def _search(
    evidence: OrderEvidence, base: Variation, names: tuple[str, ...], fields: tuple[str, ...]
) -> tuple[list[_Score], int]:
    """Try other forms of one field, of one more beside the best of those, then of two: until some give all rows.

    All variations with as many changes are tried, at most so many.
    """
    start = _score(evidence, base, names)
    scores: list[_Score] = []
    tried = 0
    for changes, several in groupby(variations(base, fields), lambda variation: _changes(base, variation, fields)):
        found, count = _tried(evidence, list(several), names, start.missing)
        scores, tried = scores + found, tried + count
        if changes == 1 and not any(score.complete for score in scores):
            better = sorted(found, key=lambda score: (-score.present, -score.share))[:BASES]
            for near in (score for score in better if score.present > start.present):
                beside = [
                    each for each in variations(near.variation, fields) if _changes(near.variation, each, fields) == 1
                ]
                found, count = _tried(evidence, beside, names, near.missing)
                scores, tried = scores + found, tried + count
        if any(score.complete for score in scores):
            break
    return scores, tried


def _tried(
    evidence: OrderEvidence, candidates: list[Variation], names: tuple[str, ...], missing: tuple[int, ...]
) -> tuple[list[_Score], int]:
    """Return the scores of the best candidates, by looks at a few of the positions that are missing so far."""
    count = len(candidates)
    for positions in LOOKS:
        if len(candidates) > FEW:
            first = [_score(evidence, variation, names, missing[:positions]) for variation in candidates]
            best = max(score.share for score in first)
            candidates = [score.variation for score in first if score.share >= best]
    return [_score(evidence, variation, names) for variation in candidates[:MOST_AGAIN]], count


def _score(
    evidence: OrderEvidence, variation: Variation, names: Sequence[str], only: Sequence[int] | None = None
) -> _Score:
    rows = evidence.rows(variation, names, only)
    known = [evidence.known(row) for _, row in rows]
    share = float(np.concatenate(known).mean()) if known else 0.0
    missing = [position for (position, _), there in zip(rows, known, strict=True) if not there.all()]
    return _Score(variation, share, len(rows) - len(missing), len(rows), tuple(dict.fromkeys(missing)))


def _changes(base: Variation, variation: Variation, fields: tuple[str, ...]) -> int:
    return sum(getattr(base, name) != getattr(variation, name) for name in fields)
