"""Compare what two engines showed, field by field, and find the first difference."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from refruntime.cases.observation import (
    Broken,
    Diagnostics,
    Ended,
    Observation,
    StatusAnswer,
    ValueAnswer,
    diagnostics_of,
    is_failure,
    kind_of,
    result_of,
    same_end,
)
from refruntime.cases.steps import NEXT_TOKEN, Generate, Step
from refruntime.contract.fields import COMPARED_FIELDS
from refruntime.contract.status import Status

LOGIT_FIELDS: Final = frozenset(field.name for field in COMPARED_FIELDS if field.has_logits)
_ORDER: Final = tuple(field.name for field in COMPARED_FIELDS)
Sameness = Callable[[Any, Any], bool]
"""Say whether a diagnostics value of the reference and one of the build mean the same."""

_SINGLE: Final = struct.Struct("<f")
_BITS: Final = struct.Struct("<I")
_NAN_BITS: Final = 0x7FC00000
_INFINITE_BITS: Final = 0x7F800000
_SIGN_BIT: Final = 0x80000000

MISSING: Final = "nothing (the build shows this field elsewhere)"


@dataclass(frozen=True)
class Difference:
    """One field in which the engines differ at one step, with both values."""

    index: int
    field: str
    reference: Any
    build: Any


@dataclass
class Comparison:
    """The differences of the first differing step, and how much was compared.

    `steps` includes the differing step, `tokens` counts generated tokens of the steps that agree. `compared` and `lost`
    count by field; a lost field is one that the build does not have.
    """

    differences: list[Difference] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    tokens: int = 0

    @property
    def first(self) -> Difference | None:
        """Return the first difference, None when all agreed."""
        return self.differences[0] if self.differences else None

    @property
    def matched(self) -> int:
        """Return the number of steps that agree, counted from the start."""
        return self.steps if self.first is None else self.first.index


def offered_fields(observations: Sequence[Observation]) -> frozenset[str]:
    """Return the diagnostics fields that a build shows in any of its documents."""
    return frozenset(name for observation in observations for name in diagnostics_of(observation))


def compare_observations(
    reference: Sequence[Observation],
    build: Sequence[Observation],
    offered: Collection[str] | None = None,
    same: Sameness | None = None,
) -> Comparison:
    """Compare step by step in the order status, state, tokens and logits, result bytes (design: verdicts).

    Only the first differing step is recorded: later steps of a diverged session are no evidence. `offered` are the
    diagnostics fields that the build is known to show, by default those of its answers here: a field that a build never
    shows is lost, one that it shows elsewhere is a difference. `same` compares diagnostics values, by default
    `same_meaning`.
    """
    known = offered_fields(build) | frozenset(offered or ())
    comparison = Comparison()
    for index, (mine, theirs) in enumerate(zip(reference, build, strict=False)):
        comparison.steps += 1
        found = list(_compare_step(index, mine, theirs, comparison, known, same or same_meaning))
        if found:
            comparison.differences = found
            return comparison
        comparison.tokens += _generated(mine)
    if len(reference) != len(build):
        comparison.differences = [Difference(comparison.steps, "steps", len(reference), len(build))]
    return comparison


def _compare_step(
    index: int,
    mine: Observation,
    theirs: Observation,
    comparison: Comparison,
    known: Collection[str],
    same: Sameness,
) -> Iterator[Difference]:
    comparison.compared["status"] += 1
    if not same_end(mine, theirs):
        yield Difference(index, "status", outcome(mine), outcome(theirs))
    if isinstance(theirs, Ended) or not isinstance(mine, StatusAnswer):  # it shows nothing more
        return
    if mine.diagnostics is not None:
        yield from _compare_diagnostics(index, mine.diagnostics, diagnostics_of(theirs), comparison, known, same)
    if mine.result is not None:
        comparison.compared["result"] += 1
        if mine.result != result_of(theirs):
            yield Difference(index, "result", mine.result, result_of(theirs))


def _compare_diagnostics(
    index: int,
    mine: Diagnostics,
    theirs: Diagnostics,
    comparison: Comparison,
    known: Collection[str],
    same: Sameness,
) -> Iterator[Difference]:
    for name in _ORDER:
        if name not in known:
            comparison.lost[name] += 1
            continue
        comparison.compared[name] += 1
        if name not in theirs:
            yield Difference(index, name, mine[name], MISSING)
        elif mine[name] is not theirs[name] and not same(mine[name], theirs[name]):
            yield Difference(index, name, mine[name], theirs[name])


def drawn_otherwise(answer: Observation, differences: Collection[Difference]) -> bool:
    """Say whether a step that differs took one token from logits that agree: its cause lies behind the forward pass.

    `answer` is the build's, `differences` are those of the step.
    """
    summary = diagnostics_of(answer).get("logits_summary")
    agree = summary is not None and not {each.field for each in differences} & {"status", *LOGIT_FIELDS}
    return agree and takes_one_token(answer.step)


def takes_one_token(step: Step) -> bool:
    """Say whether a step takes one token at most, so that the logits that it leaves are those of its choice."""
    return step == NEXT_TOKEN or (isinstance(step, Generate) and step.max_new_tokens == 1)


def same_meaning(mine: Any, theirs: Any) -> bool:
    """Compare JSON values by meaning: numbers as float32 bits when either is fractional, else exactly (DG-7)."""
    if isinstance(mine, bool) or isinstance(theirs, bool) or mine is None or theirs is None:
        return mine is theirs
    if isinstance(mine, str) or (isinstance(mine, float) and mine == theirs):
        return bool(mine == theirs)
    if isinstance(mine, (int, float)) and isinstance(theirs, (int, float)):
        if isinstance(mine, int) and isinstance(theirs, int):
            return mine == theirs
        return float32_bits(mine) == float32_bits(theirs)
    if isinstance(mine, list) and isinstance(theirs, list):
        return len(mine) == len(theirs) and all(map(same_meaning, mine, theirs))
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(same_meaning(mine[key], theirs[key]) for key in mine)
    return type(mine) is type(theirs) and bool(mine == theirs)


def float32_bits(value: float) -> int:
    """Return the bits of the float32 nearest to a number; those of 0 for -0, which equals it."""
    try:
        double = float(value)
    except OverflowError:  # a build may write any number of digits
        double = math.inf if value > 0 else -math.inf
    if math.isnan(double):
        return _NAN_BITS
    try:
        bits: int = _BITS.unpack(_SINGLE.pack(double))[0]
    except OverflowError:  # beyond the largest float32
        bits = _INFINITE_BITS if double > 0 else _INFINITE_BITS | _SIGN_BIT
    return 0 if bits == _SIGN_BIT else bits


def outcome(observation: Observation) -> str:
    """Describe how a step ended in a few words, statuses by name."""
    match observation:
        case StatusAnswer():
            return status_text(observation.code)
        case ValueAnswer():
            return f"value {observation.value}"
    detail = observation.detail if isinstance(observation, Broken) else ""
    return f"{kind_of(observation)} {detail}".strip()


def status_text(code: int) -> str:
    """Return name and number of a status; a code outside of the table is only a number."""
    known = next((status.name for status in Status if status == code), "unknown status")
    return f"{known} ({code})"


def _generated(observation: Observation) -> int:
    """Return how many tokens a step of the oracle generated."""
    shown = diagnostics_of(observation)
    if not shown or is_failure(observation):
        return 0
    if isinstance(observation.step, Generate):
        if "generated_tokens" in shown or "kv_length" not in shown or "prompt_tokens" not in shown:
            return int(shown.get("generated_tokens", 0))
        return int(shown["kv_length"]) - int(shown["prompt_tokens"])  # a build need not show the count itself
    return int(observation.step == NEXT_TOKEN)
