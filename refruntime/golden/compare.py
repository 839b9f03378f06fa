"""Hold what a build showed against the frozen answers of a golden, as golden/FORMAT.md says in section 7."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from refruntime.cases.observation import (
    Broken,
    EngineFailed,
    Observation,
    StatusAnswer,
    ValueAnswer,
    is_failure,
    kind_of,
)
from refruntime.cases.steps import Case
from refruntime.contract.status import Status
from refruntime.differential.compare import Comparison, compare_observations, float32_bits, offered_fields
from refruntime.golden.expect import NON_ZERO, GoldenExpectation, known_as_zero_or_not

FIRST_TEXT_TOKEN: Final = 256
"""In every byte vocabulary the tokens below are one byte of text, and the next four are specials."""


def compare_with_golden(
    case: Case, expected: Sequence[Sequence[Observation]], seen: Sequence[Observation], offered: Collection[str] = ()
) -> tuple[Comparison, list[Observation]]:
    """Compare what a build showed with the right answers, up to the first step that differs.

    Returns the comparison, and for each compared step the right answer that it was held against: the first that agrees,
    else the first that is no failure, else the first.
    """
    known = offered_fields(seen) | frozenset(offered)
    total = Comparison()
    reference: list[Observation] = []
    for index, (answers, step) in enumerate(zip(expected, case.steps, strict=True)):
        theirs = seen[index] if index < len(seen) else EngineFailed(step, "the session ended before")
        compared = [(mine, _compare_step(mine, theirs, known)) for mine in sorted(answers, key=is_failure)]
        mine, comparison = next((pair for pair in compared if pair[1].first is None), compared[0])
        reference.append(mine)
        total.steps += 1
        total.compared.update(comparison.compared)
        total.lost.update(comparison.lost)
        total.tokens += comparison.tokens
        if comparison.first is not None:
            total.differences = [replace(item, index=index) for item in comparison.differences]
            return total, reference
    return total, reference


def _compare_step(mine: Observation, theirs: Observation, known: Collection[str]) -> Comparison:
    if isinstance(mine, StatusAnswer) and not isinstance(theirs, StatusAnswer):  # then nothing but that is compared
        mine = replace(mine, result=None, diagnostics=None)
    return compare_observations([mine], [theirs], known, same_as_golden)


def same_as_golden(mine: Any, theirs: Any) -> bool:
    """Say whether a diagnostics value means what the golden says: floats as float32, all else identical."""
    if isinstance(mine, float):
        is_number = isinstance(theirs, int | float) and not isinstance(theirs, bool)
        return is_number and float32_bits(mine) == float32_bits(theirs)
    if isinstance(mine, list):
        return isinstance(theirs, list) and len(mine) == len(theirs) and all(map(same_as_golden, mine, theirs))
    if isinstance(mine, dict):
        same_keys = isinstance(theirs, dict) and mine.keys() == theirs.keys()
        return same_keys and all(same_as_golden(mine[key], theirs[key]) for key in mine)
    return type(mine) is type(theirs) and bool(mine == theirs)


def golden_outcome(observation: Observation) -> int | str:
    """Return how a step ended, as the golden format names it."""
    match observation:
        case StatusAnswer():
            code = observation.code
            return next((status.name for status in Status if status == code), f"unknown status {code}")
        case ValueAnswer():
            value = observation.value
            return NON_ZERO if value and known_as_zero_or_not(observation.step) else value
    detail = observation.detail if isinstance(observation, Broken) else ""
    return f"{kind_of(observation)}: {detail}" if detail else kind_of(observation)


def first_differing_sample(expectation: GoldenExpectation, comparison: Comparison) -> Mapping[str, Any] | None:
    """Return the entry of the sampler trace of the first token that differs; None where the step samples none.

    Where the result text differs, the place in the text tells the token: a token below 256 is one byte of it in every
    byte vocabulary. In other vocabularies the place among the tokens is estimated.
    """
    first = comparison.first
    if first is None:
        return None
    samples = [sample for sample in expectation.samples if sample["step"] == first.index]
    texts = [(item.reference, item.build) for item in comparison.differences if item.field == "result"]
    if not samples or not texts or not texts[0][0]:
        return samples[-1] if samples else None
    mine, theirs = texts[0]
    pairs = zip(mine, theirs or b"", strict=False)
    offset = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(mine), len(theirs or b"")))
    specials = range(FIRST_TEXT_TOKEN, FIRST_TEXT_TOKEN + 4)
    written = [sample for sample in samples if sample["token"] not in specials]
    place = offset if len(written) == len(mine) else offset * len(written) // len(mine)
    return written[place] if place < len(written) else samples[-1]
