"""Independent checks that stand in for a second build; `opinion` in a `case.json` names one (golden/FORMAT.md, 6).

A check shares no code with the oracle. It gets a case and the oracle's answers, recomputes what it can from the
artifact's bytes, and returns its objections; an answer that it cannot recompute is an objection too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from refruntime.cases.observe import Observation
from refruntime.cases.steps import Case


@dataclass(frozen=True)
class Objection:
    """What a check says against an answer: the step, the field, and the text with both values."""

    step: int
    field: str
    text: str


Opinion = Callable[[Case, Sequence[Observation]], list[Objection]]

OPINIONS: Final[dict[str, Opinion]] = {}
"""Name in `case.json` -> check."""
