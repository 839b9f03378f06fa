"""Find the fields of a build by its first sessions; where a known fault hides some, with that fault in the oracle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from refruntime.cases.observation import Broken, Observation, StatusAnswer, same_end
from refruntime.cases.steps import INIT, Case
from refruntime.contract.dialect import Dialect, at_place
from refruntime.contract.forms import MISSING
from refruntime.contract.profile import DIAGNOSTIC_NAMES
from refruntime.differential.compare import compare_observations, outcome, same_meaning
from refruntime.differential.run import Oracle, PairRun, observe
from refruntime.hypotheses.attempt import varied_answers
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.hypothesis import Changes
from refruntime.identify.asking import AskedBuild
from refruntime.identify.field_bugs import TEXTS
from refruntime.identify.fields import BY_NAME, CONSTANT, LearntField, Shown, find_fields, places_of, within
from refruntime.identify.likeness import by_likeness, by_values
from refruntime.identify.words import own_words, words_of

DRAWN: Final = ("selected_token", "top_tokens", "logits_summary")
"""Fields whose values follow from options too, so that a right build has others than the contract's defaults."""

FEW: Final = 3
"""A place with fewer values than this is like many a constant."""


@dataclass(frozen=True)
class Named:
    """The fields, the documents that tell them beside the contract's, and why there are none."""

    fields: Mapping[str, LearntField]
    shown: Sequence[Shown]
    trouble: str = ""


def find_names(build: AskedBuild, cases: Sequence[Case], oracle: Oracle) -> Named:
    """Return the fields of a build.

    A fault of counts or of the tokenizer makes the values of many fields others, so that they are found nowhere, or
    one at the place of another. Where values of a build are left over, or agree in a part of the documents, each known
    fault of that kind is put into the oracle: under the one that the build has every document agrees.
    """
    shown, trouble = _documents(build, cases, (observe(case, oracle.engine(), oracle.profile) for case in cases))
    if not shown:
        return Named({}, shown, trouble)
    found = by_likeness(by_values(find_fields(shown), shown), shown)
    if _in_doubt(found, shown):
        telling = _telling(build, cases, found, shown)
        for changes in _changes(oracle):
            if telling is not None and not telling.agrees(_varied(build, telling.case, changes, oracle)):
                continue
            others, _ = _documents(build, cases, (_varied(build, case, changes, oracle) for case in cases))
            if len(others) >= len(shown):
                fields = find_fields(others)
                if _found(fields) >= _found(found) and not _in_doubt(fields, others):
                    return Named(fields, shown, trouble)
    return Named(found, shown, trouble)


def unclaimed(fields: Mapping[str, LearntField], shown: Sequence[Shown]) -> list[str]:
    """Return the places that are no field's and have several values."""
    taken = [item.place for item in fields.values() if item.place]
    free = [place for place in places_of(shown) if not any(within(place, one) or within(one, place) for one in taken)]
    outer = [place for place in free if not any(within(place, one) for one in free if one != place)]
    return [place for place in outer if len(set(_values(place, shown))) >= FEW]


def _values(place: str, shown: Sequence[Shown]) -> Iterator[str]:
    for each in shown:
        value = at_place(each.document, place)
        yield "" if value is MISSING else json.dumps(value)


def _found(fields: Mapping[str, LearntField]) -> int:
    """Return how many fields are shown: a fault that hides one more has not got its documents to agree."""
    return sum(fields[name].shows for name in DIAGNOSTIC_NAMES)


def _in_doubt(fields: Mapping[str, LearntField], shown: Sequence[Shown]) -> bool:
    """Say whether a field agrees in a part of the documents, or is not found though several places are left over."""
    told = [item for name, item in fields.items() if name not in TEXTS and not name.startswith(DRAWN)]
    in_part = (item.status == "observed" and item.agreed < item.shown for item in told)
    if any(in_part) or any(item.reason == BY_NAME for item in told):
        return True
    absent = [name for name in DIAGNOSTIC_NAMES if name not in (*CONSTANT, *TEXTS) and not fields[name].shows]
    return bool(absent) and len(unclaimed(fields, shown)) > 1


@dataclass(frozen=True)
class _Telling:
    """One document in which a field that is found elsewhere does not agree: a fault that explains it changes that."""

    case: Case
    step: int
    item: LearntField
    document: Mapping[str, Any]

    def agrees(self, answers: Sequence[Observation]) -> bool:
        """Say whether the field agrees under the oracle's answers."""
        mine = answers[self.step] if self.step < len(answers) else None
        if not isinstance(mine, StatusAnswer) or mine.diagnostics is None:
            return False
        name, place, form = self.item.name, self.item.place, self.item.form
        dialect = Dialect((name,), ((name, place),), ((name, form),) if form else ())
        own = dialect.read(dialect.write({name: mine.diagnostics[name]}))
        return same_meaning(own.get(name), dialect.read(self.document).get(name))


def _telling(
    build: AskedBuild, cases: Sequence[Case], found: Mapping[str, LearntField], shown: Sequence[Shown]
) -> _Telling | None:
    """Return a document that every explanation has to explain; None where no field agrees in a part of them."""
    named = {case.name: case for case in cases}
    lost = {word for name in DIAGNOSTIC_NAMES if not found[name].shows for word in own_words(name)}
    for name in DIAGNOSTIC_NAMES:
        item = found[name]
        if item.status != "observed" or item.agreed == item.shown or name in TEXTS or name.startswith(DRAWN):
            continue
        if lost & set(words_of(item.place)):  # by its name the place is that of a field which is not found
            continue
        for each in shown:
            document = _Telling(named[each.case], each.step, item, each.document)
            if not document.agrees([_answer_of(each)] * (each.step + 1)):
                return document
    return None


def _answer_of(shown: Shown) -> StatusAnswer:
    """Return the contract's side of a document as an answer."""
    return StatusAnswer(INIT, shown.status, None, shown.expected)


def _changes(oracle: Oracle) -> Iterator[Changes]:
    """Yield the known faults that change counts, tokens and labels."""
    for fault in catalogue(oracle.profile):
        changes = fault.changes
        if fault.option is None and (changes.machine or changes.runtime or changes.tokenizer):
            yield changes


def _varied(build: AskedBuild, case: Case, changes: Changes, oracle: Oracle) -> list[Observation]:
    """Return what the oracle answers with a fault in it."""
    answers = [each.observation for each in build.answers(case)]
    return list(varied_answers(changes, PairRun(case, [], answers, compare_observations([], [])), oracle))


def _documents(
    build: AskedBuild, cases: Sequence[Case], expected: Iterable[Sequence[Observation]]
) -> tuple[list[Shown], str]:
    """Return the documents of the naming sessions up to where a build leaves the contract, and why it does."""
    shown: list[Shown] = []
    trouble = ""
    for case, answers in zip(cases, expected, strict=True):
        for index, (mine, answer) in enumerate(zip(answers, build.answers(case), strict=False)):
            theirs = answer.observation
            if not same_end(theirs, mine):
                if isinstance(theirs, Broken):
                    trouble = trouble or f"step {index} of {case.name}: {outcome(theirs)}"
                break
            if answer.document is not None and isinstance(mine, StatusAnswer) and mine.diagnostics is not None:
                shown.append(Shown(mine.diagnostics, answer.document, mine.code, case.name, index))
    return shown, "" if shown else trouble
