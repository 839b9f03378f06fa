"""Name fields of the diagnostics whose values are wrong in a build; no other experiment is held against them (DG-3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from refruntime.contract.dialect import at_place
from refruntime.contract.fields import FIELDS_BY_NAME
from refruntime.identify.fields import BY_NAME, LearntField, Shown
from refruntime.identify.identification import Bug, Evidence

TEXTS: Final = ("last_error",)
"""Fields whose values are texts of the build's own choice (ERR-3): another one says nothing."""

MOST_SHOWN: Final = 3


def without_wrong_fields(fields: Mapping[str, LearntField]) -> dict[str, LearntField]:
    """Return the fields as if a build had not those whose values are wrong."""
    wrong = wrong_fields(fields)
    return {name: replace(item, place="", form="") if name in wrong else item for name, item in fields.items()}


def wrong_fields(fields: Mapping[str, LearntField]) -> frozenset[str]:
    """Return the fields known by their names alone, whose values follow from no number of a model."""
    return frozenset(
        name
        for name, item in fields.items()
        if item.place
        and item.reason == BY_NAME
        and name in FIELDS_BY_NAME
        and name not in TEXTS
        and not FIELDS_BY_NAME[name].of_model
    )


def field_bugs(fields: Mapping[str, LearntField], shown: Sequence[Shown]) -> list[Bug]:
    """Return each wrong field as a bug, with documents that show it."""
    bugs = []
    for name in sorted(wrong_fields(fields)):
        place = fields[name].place
        wrong = [each for each in shown if at_place(each.document, place) != each.expected[name]]
        if not wrong:
            continue
        evidence = tuple(
            Evidence(
                each.case, each.step, "the document of a call", name, "the contract",
                str(each.expected[name]), str(at_place(each.document, place)),
            )
            for each in wrong[:MOST_SHOWN]
        )  # fmt: skip
        cases = tuple(dict.fromkeys(each.case for each in wrong))
        text = f"the field {name}, known by its name, has other values than the contract's"
        bugs.append(Bug(FIELDS_BY_NAME[name].rule, text, len(wrong), len(shown), cases, evidence))
    return bugs
