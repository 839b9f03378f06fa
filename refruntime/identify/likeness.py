"""Find a field whose values a bug made others: by values that are nearly right, or by its name (DG-3, ID-3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from refruntime.contract.dialect import SUMMARY_PARTS, at_place
from refruntime.contract.fields import OF_LOGITS
from refruntime.contract.profile import DIAGNOSTIC_NAMES
from refruntime.differential.compare import same_meaning
from refruntime.identify.fields import (
    BY_NAME,
    CONSTANT,
    IN_PARTS,
    NEARLY,
    LearntField,
    Shown,
    find_fields,
    places_of,
    within,
)
from refruntime.identify.words import named_alike, own_words, words_of

IDS: Final = "tokenizer_output"
BEGINS: Final = "its ids begin as those of the contract do"

SHARE: Final = 1e-3
"""Numbers of one logit in two builds are no further apart than this share."""


def by_values(found: Mapping[str, LearntField], shown: Sequence[Shown]) -> dict[str, LearntField]:
    """Find fields of logits that are a little off or added in another order, and ids that begin as they should."""
    result = dict(found)
    missing = [name for name in (*OF_LOGITS, IDS) if found[name].status != "observed"]
    if not missing:
        return result
    near = find_fields(shown, nearly_same)
    taken = {item.place for item in found.values() if item.status == "observed"}
    for name in missing:
        parts = SUMMARY_PARTS if near[name].reason == IN_PARTS else ()
        if near[name].status != "observed" or any(near[each].place in taken for each in (name, *parts)):
            continue
        for each in (name, *parts):
            reason = IN_PARTS if parts and each == name else BEGINS if name == IDS else NEARLY
            result[each] = replace(near[each], status="assumed", reason=reason, nearly=True)
    return result


def nearly_same(mine: Any, theirs: Any) -> bool:
    """Compare JSON values by meaning, fractional numbers by their first digits, ids as far as both have some."""
    if isinstance(mine, float) and isinstance(theirs, int | float) and not isinstance(theirs, bool):
        return math.isclose(mine, theirs, rel_tol=SHARE, abs_tol=SHARE)
    if isinstance(mine, str) and isinstance(theirs, str):
        pairs = zip(mine.split(","), theirs.split(","), strict=False)
        return bool(mine) == bool(theirs) and all(own == other for own, other in pairs)
    if isinstance(mine, list) and isinstance(theirs, list):
        return len(mine) == len(theirs) and all(map(nearly_same, mine, theirs))
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(nearly_same(mine[key], theirs[key]) for key in mine)
    return same_meaning(mine, theirs)


def by_likeness(found: Mapping[str, LearntField], shown: Sequence[Shown]) -> dict[str, LearntField]:
    """Find a field whose values a bug made others: by its whole name, or by a word and values that go with its own."""
    result, places = dict(found), places_of(shown)
    for name, item in found.items():
        if item.place or name not in DIAGNOSTIC_NAMES or name in CONSTANT or item.reason == IN_PARTS:
            continue
        taken = [other.place for other in result.values() if other.place]
        free = [place for place in places if not any(within(place, one) or within(one, place) for one in taken)]
        like = [place for place in free if named_alike(place, name)] or [
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
