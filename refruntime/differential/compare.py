"""Compare what two engines showed, field by field, and find the first difference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refruntime.cases.observe import Diagnostics, Observation
from refruntime.contract.profile import DIAGNOSTIC_NAMES

NUMBER_FIELDS = ("tokenizer_output", "selected_token", "top_tokens", "logits_summary")
STATE_FIELDS = tuple(name for name in DIAGNOSTIC_NAMES if name not in NUMBER_FIELDS)


@dataclass(frozen=True)
class Difference:
    """One field in which the engines differ at one step, with both values."""

    index: int
    field: str
    reference: Any
    build: Any


@dataclass
class Comparison:
    """The differences of one case, what was compared how often, and the fields that the build does not have."""

    differences: list[Difference] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    steps: int = 0

    @property
    def first(self) -> Difference | None:
        """Return the first difference, None when all agreed."""
        return self.differences[0] if self.differences else None


def compare_observations(reference: Sequence[Observation], build: Sequence[Observation]) -> Comparison:
    """Compare step by step in the order status, state, tokens and logits, result bytes (design: verdicts).

    Only the first differing step is recorded: later steps of a diverged session are no evidence.
    """
    comparison = Comparison()
    for index, (mine, theirs) in enumerate(zip(reference, build, strict=False)):
        comparison.steps += 1
        found = list(_compare_step(index, mine, theirs, comparison))
        if found:
            comparison.differences = found
            return comparison
    if len(reference) != len(build):
        comparison.differences = [Difference(comparison.steps, "steps", len(reference), len(build))]
    return comparison


def _compare_step(index: int, mine: Observation, theirs: Observation, comparison: Comparison) -> Iterator[Difference]:
    comparison.compared["status"] += 1
    if (mine.kind, mine.value) != (theirs.kind, theirs.value):
        yield Difference(index, "status", _outcome(mine), _outcome(theirs))
    if mine.diagnostics is not None:
        yield from _compare_diagnostics(index, mine.diagnostics, theirs.diagnostics or {}, comparison)
    if mine.result is not None:
        comparison.compared["result"] += 1
        if mine.result != theirs.result:
            yield Difference(index, "result", mine.result, theirs.result)


def _compare_diagnostics(
    index: int, mine: Diagnostics, theirs: Diagnostics, comparison: Comparison
) -> Iterator[Difference]:
    for name in (*STATE_FIELDS, *NUMBER_FIELDS):
        if name not in theirs:
            comparison.lost[name] += 1
            continue
        comparison.compared[name] += 1
        if not same_meaning(mine[name], theirs[name]):
            yield Difference(index, name, mine[name], theirs[name])


def same_meaning(mine: Any, theirs: Any) -> bool:
    """Compare JSON values by meaning: numbers as float32 bits when either is fractional, else exactly (DG-7)."""
    if isinstance(mine, bool) or isinstance(theirs, bool) or mine is None or theirs is None:
        return mine is theirs
    if isinstance(mine, (int, float)) and isinstance(theirs, (int, float)):
        if isinstance(mine, int) and isinstance(theirs, int):
            return mine == theirs
        return _float32_bits(mine) == _float32_bits(theirs)
    if isinstance(mine, list) and isinstance(theirs, list):
        return len(mine) == len(theirs) and all(map(same_meaning, mine, theirs))
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(same_meaning(mine[key], theirs[key]) for key in mine)
    return type(mine) is type(theirs) and bool(mine == theirs)


def _float32_bits(value: float) -> int:
    with np.errstate(over="ignore"):
        single = np.float32(value) if not math.isnan(value) else np.float32(np.nan)
    return 0 if single == 0 else int(single.view(np.uint32))


def _outcome(observation: Observation) -> str:
    if observation.kind in ("status", "value"):
        return f"{observation.kind} {observation.value}"
    return f"{observation.kind} {observation.detail}".strip()
