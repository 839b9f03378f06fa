"""Find where a build writes each diagnostics field, and in which form, by what its values do (ID-3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from refruntime.contract.dialect import SUMMARY_PARTS, Dialect, at_place, place_of
from refruntime.contract.forms import MISSING, Form
from refruntime.contract.profile import DIAGNOSTIC_NAMES
from refruntime.differential.compare import same_meaning
from refruntime.identify.candidates import forms_for
from refruntime.identify.words import named_alike, own_words, words_of

CONSTANT: Final = ("model_load_ms", "tokens_per_second")
"""Fields that are always 0 (DG-4), so that nothing tells one of them from any other zero but its name."""

MOST_DEPTH: Final = 6
MOST_PLACES: Final = 2000
IN_PARTS: Final = "in parts"
BY_NAME: Final = "by its name alone: its values are not those of the contract"

NEARLY: Final = "its numbers are nearly those of the contract"

ENOUGH: Final = 0.6
"""Share of the documents in which a field has to agree, where none agrees in all of them."""

ENOUGH_BY_NAME: Final = 0.4
"""The same where the name of the place has the words of the field's own."""

Same = Callable[[Any, Any], bool]
"""Say whether two JSON values mean the same."""


@dataclass(frozen=True)
class Shown:
    """One answer: what the fields are by the contract (`expected`), the build's document, and where it was seen."""

    expected: Mapping[str, Any]
    document: Mapping[str, Any]
    status: int
    case: str
    step: int


@dataclass(frozen=True)
class LearntField:
    """Where a field lies and how it is written; `agreed` of `shown` documents say so.

    `status` is `observed`, `assumed` (its name is all that speaks for it, or numbers that are `nearly` right) or
    `absent`. `evidence` are (case, step) pairs whose values leave no other place.
    """

    name: str
    place: str
    form: str
    status: str
    agreed: int
    shown: int
    reason: str = ""
    evidence: tuple[tuple[str, int], ...] = ()
    others: tuple[str, ...] = ()
    nearly: bool = False

    @property
    def shows(self) -> bool:
        """Say whether the build shows the field at a place that is known."""
        return bool(self.place) or self.reason == IN_PARTS


def find_fields(shown: Sequence[Shown], same: Same = same_meaning) -> dict[str, LearntField]:
    """Return what was found for every field, and for the parts of `logits_summary` where they lie apart."""
    places = places_of(shown)
    found: dict[str, LearntField] = {}
    for name in DIAGNOSTIC_NAMES:
        if name in CONSTANT:
            found[name] = _constant(name, shown, places)
        elif name == "last_error":
            found[name] = _last_error(shown, places)
        else:
            found[name] = _best(name, [item.expected[name] for item in shown], shown, places, same)
    if found["logits_summary"].agreed < found["logits_summary"].shown:
        parts = _summary_parts(shown, places, same)
        whole = found["logits_summary"].place if found["logits_summary"].status == "observed" else ""
        apart = not whole or any(part.place and not within(part.place, whole) for part in parts.values())
        if apart and any(part.status == "observed" for part in parts.values()):
            count = len(shown)
            form = _form_without_parts(shown, [part.place for part in parts.values() if part.place])
            found["logits_summary"] = LearntField("logits_summary", "", form, "observed", count, count, IN_PARTS)
            found |= parts
    return _without_doubles(found)


def dialect_of(found: Mapping[str, LearntField]) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Return places and forms as a profile holds them."""
    places = tuple(
        (name, item.place)
        for name, item in found.items()
        if item.place != name and not (name == "logits_summary" and item.reason == IN_PARTS)
    )
    return places, tuple((name, item.form) for name, item in found.items() if item.form)


# Places --------------------------------------------------------------------------------------------------------------


def places_of(shown: Sequence[Shown]) -> list[str]:
    """Return every place of any document, the shortest first."""
    seen: dict[str, int] = {}

    def visit(value: Any, path: tuple[str, ...]) -> None:
        if len(seen) >= MOST_PLACES:
            return
        if path:
            seen.setdefault(place_of(path), len(path))
        if len(path) >= MOST_DEPTH:
            return
        if isinstance(value, Mapping):
            for key, item in value.items():
                visit(item, (*path, str(key)))
        elif isinstance(value, list) and len(value) <= 4:
            for index, item in enumerate(value):
                visit(item, (*path, str(index)))

    for item in shown:
        visit(item.document, ())
    return sorted(seen, key=lambda place: (seen[place], place))


def within(place: str, outer: str) -> bool:
    """Say whether a place is another one or a part of it."""
    return place == outer or place.startswith((outer + "/", "/" + outer + "/"))


# One field -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Candidate:
    place: str
    form: str
    agreed: int
    telling: int
    evidence: tuple[tuple[str, int], ...]


def _best(name: str, expected: Sequence[Any], shown: Sequence[Shown], places: Sequence[str], same: Same) -> LearntField:
    """Return the place and form under which the values are the expected ones in most documents."""
    candidates = sorted(
        _candidates(name, expected, shown, places, same),
        key=lambda item: (
            -item.agreed,
            _lossy(name, item.form),
            item.place != name,
            len(item.form),
            item.place.count("/"),
            item.place,
        ),
    )
    if candidates:
        best = candidates[0]
        others = tuple(item.place for item in candidates[1:] if item.agreed == best.agreed and item.place != best.place)
        least = ENOUGH_BY_NAME if named_alike(best.place, name) else ENOUGH
        if best.agreed == len(shown) or (best.agreed >= least * len(shown) and best.telling >= 2):
            reason = "" if best.agreed == len(shown) else f"agrees in {best.agreed} of {len(shown)} documents"
            found = name, best.place, best.form, "observed", best.agreed, len(shown), reason, best.evidence, others
            return LearntField(*found, nearly=best.agreed < ENOUGH * len(shown))
    if name in places:
        return LearntField(name, name, "", "assumed", 0, len(shown), BY_NAME)
    return LearntField(name, "", "", "absent", 0, len(shown), "no place of the diagnostics has its values")


def _lossy(name: str, form: str) -> bool:
    """Say whether a form of the ranking leaves the logits out."""
    parsed = Form.parse(form)
    return name == "top_tokens" and (parsed.kind == "ids" or (parsed.kind == "objects" and not parsed.logit))


def _candidates(
    name: str, expected: Sequence[Any], shown: Sequence[Shown], places: Sequence[str], same: Same
) -> Iterator[_Candidate]:
    for place in places:
        values = [at_place(item.document, place) for item in shown]
        if all(value is MISSING for value in values):
            continue
        for form in forms_for(name, expected, values):
            dialect = Dialect((name,), ((name, place),), ((name, form),) if form else ())
            agreed, telling, evidence = 0, set(), []
            for item, mine in zip(shown, expected, strict=True):
                theirs = dialect.read(item.document)
                rewritten = dialect.read(dialect.write({name: mine}))
                if theirs.keys() == rewritten.keys() and (not theirs or same(rewritten[name], theirs[name])):
                    agreed += 1
                    if name in theirs and str(mine) not in telling:
                        telling.add(str(mine))
                        evidence.append((item.case, item.step))
            if len(telling) >= 2:
                yield _Candidate(place, form, agreed, len(telling), tuple(evidence[-3:]))


def _constant(name: str, shown: Sequence[Shown], places: Sequence[str]) -> LearntField:
    zero = [place for place in places if all(at_place(item.document, place) in (0, 0.0) for item in shown)]
    zero = [place for place in zero if not any(isinstance(at_place(item.document, place), bool) for item in shown)]
    named = [place for place in zero if own_words(name) & set(words_of(place))]
    count = len(shown)
    reason = "it is always 0 (DG-4): its name is all that speaks for it"
    if name in zero:
        return LearntField(name, name, "", "observed", count, count, reason="always 0, as DG-4 says")
    if len(named) == 1:
        return LearntField(name, named[0], "", "assumed", count, count, reason)
    if name in places:
        return LearntField(name, name, "", "assumed", 0, count, BY_NAME)
    reason = "always 0 (DG-4), so that only a name could tell it from other constants, and none is like it"
    return LearntField(name, "", "", "assumed", 0, count, reason)


def _last_error(shown: Sequence[Shown], places: Sequence[str]) -> LearntField:
    """Find the place that has one text for each failed status and one value for all that went well (ERR-3, ERR-5).

    Where there is none, a text of a failure may have stayed behind in some documents of what went well.
    """
    count = len(shown)
    ordered = sorted(places, key=lambda place: (place != "last_error", place.count("/"), place))
    for stays, place in product((False, True), ordered):
        well = {_key(at_place(item.document, place)) for item in shown if item.status == 0}
        failed: dict[int, set[Any]] = {}
        for item in shown:
            if item.status != 0:
                failed.setdefault(item.status, set()).add(_key(at_place(item.document, place)))
        texts = [next(iter(values)) for values in failed.values() if len(values) == 1]
        none = well - set(texts) if stays else well
        if len(none) != 1 or len(texts) != len(failed) or len(failed) < 2 or none & set(texts):
            continue
        if not all(kind == "str" and text for kind, text in texts) or len(set(texts)) != len(texts):
            continue
        left = sum(item.status == 0 and _key(at_place(item.document, place)) not in none for item in shown)
        values = (at_place(item.document, place) for item in shown if item.status == 0)
        value = next(each for each in values if _key(each) in none)
        form = "" if value is None else Form(has_none=True, none=value).text
        evidence = tuple((item.case, item.step) for item in shown if item.status != 0)[:2]
        reason = f"a failure's text stays in {left} documents of what went well" if left else ""
        return LearntField("last_error", place, form, "observed", count - left, count, reason, evidence)
    if "last_error" in places:
        return LearntField("last_error", "last_error", "", "assumed", 0, count, BY_NAME)
    return LearntField("last_error", "", "", "absent", 0, count, "no place has one text for each status")


def _key(value: Any) -> tuple[str, str]:
    return ("missing", "") if value is MISSING else (type(value).__name__, str(value))


def _summary_parts(shown: Sequence[Shown], places: Sequence[str], same: Same) -> dict[str, LearntField]:
    parts = {}
    there = [item for item in shown if item.expected["logits_summary"] is not None]
    for part in SUMMARY_PARTS:
        expected = [item.expected["logits_summary"][part.partition(".")[2]] for item in there]
        parts[part] = _best(part, expected, there, places, same)
    return parts


def _form_without_parts(shown: Sequence[Shown], places: Sequence[str]) -> str:
    """Return what stands for "there is no summary" at the places of its parts."""
    none = [item.document for item in shown if item.expected["logits_summary"] is None]
    values = {_key(at_place(document, place)) for document in none for place in places}
    return Form(has_none=True, none=MISSING).text if values == {("missing", "")} else ""


def _without_doubles(found: Mapping[str, LearntField]) -> dict[str, LearntField]:
    """Give each place to one field: to the one that agrees best, of equals to the one that has no other or is plainer.

    In a build with one storage type `quantization` is `none` or that type as `model_loaded` is false or true.
    """
    result = dict(found)
    for name, item in sorted(found.items(), key=lambda pair: (len(pair[1].others), -pair[1].agreed)):
        if not item.place:
            continue
        rivals = [other for other in result.values() if other.name != name and other.place == item.place]
        for rival in rivals:
            free = [place for place in rival.others if all(place != other.place for other in result.values())]
            replacement = free[0] if free else ""
            stronger = (rival.agreed, -len(rival.form)) > (item.agreed, -len(item.form))
            if not free and stronger and rival.status == "observed":
                continue
            result[rival.name] = LearntField(
                rival.name,
                replacement,
                rival.form if replacement else "",
                rival.status if replacement else "absent",
                rival.agreed,
                rival.shown,
                "" if replacement else f"its place {item.place} is that of {name}",
                rival.evidence,
                (),
            )
    return result
