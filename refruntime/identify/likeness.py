"""Find a field whose values a bug made others: by its name, where no other field has the place (DG-3, ID-3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from refruntime.contract.dialect import at_place
from refruntime.contract.profile import DIAGNOSTIC_NAMES
from refruntime.identify.fields import BY_NAME, CONSTANT, IN_PARTS, LearntField, Shown, places_of, within
from refruntime.identify.words import own_words, words_of


def by_likeness(found: Mapping[str, LearntField], shown: Sequence[Shown]) -> dict[str, LearntField]:
    """Find a field whose values a bug made others: by its whole name, or by a word and values that go with its own."""
    result, places = dict(found), places_of(shown)
    for name, item in found.items():
        if item.place or name not in DIAGNOSTIC_NAMES or name in CONSTANT or item.reason == IN_PARTS:
            continue
        taken = [other.place for other in result.values() if other.place]
        free = [place for place in places if not any(within(place, one) or within(one, place) for one in taken)]
        like = [place for place in free if place.rpartition("/")[2] == name] or [
            place
            for place in free
            if own_words(name) & set(words_of(place))
            and _goes_with([each.expected[name] for each in shown], shown, place)
        ]
        if len(like) == 1:
            result[name] = LearntField(name, like[0], "", "assumed", 0, len(shown), BY_NAME)
    return result


def _goes_with(expected: Sequence[Any], shown: Sequence[Shown], place: str) -> bool:
    """Say whether numbers follow from the contract's, in two values at least."""
    theirs = [at_place(item.document, place) for item in shown]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (*theirs, *expected)):
        return False
    pairs = set(zip(expected, theirs, strict=True))
    return len(set(theirs)) > 1 and len(pairs) == len(set(expected))
