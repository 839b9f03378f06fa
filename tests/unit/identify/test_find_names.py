"""Fields that a known fault hides are found with the fault in the oracle; texts of failures that stay hide none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from refruntime.cases.observation import Observation, StatusAnswer
from refruntime.cases.observe import StepRunner
from refruntime.cases.steps import Case
from refruntime.client import Client
from refruntime.contract.dialect import Dialect
from refruntime.contract.fields import OF_LOGITS
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.differential.run import Oracle, observe
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.hypothesis import Hypothesis, varied_engine
from refruntime.identify import naming
from refruntime.identify.asking import AskedBuild, BuildAnswer
from refruntime.identify.calls import naming_sessions
from refruntime.identify.fields import IN_PARTS, Shown, find_fields
from refruntime.identify.likeness import by_values
from refruntime.identify.naming import find_names, unclaimed
from refruntime.numerics import CompiledSeq32

BASE = Profile()
ORACLE = Oracle(BASE, CompiledSeq32(1))
CASES = tuple(naming_sessions(BASE))
OWN = {name: f"f{place}" for place, name in enumerate(DIAGNOSTIC_NAMES)}
"""Names of a build that say nothing."""
STRANGE = replace(BASE, diagnostic_names=Dialect(DIAGNOSTIC_NAMES, tuple(OWN.items()), ()).table)


def fault(name: str) -> Hypothesis:
    return next(item for item in catalogue(BASE) if item.name == name)


def build(name: str = "") -> AskedBuild:
    """Return a build with names of its own, and with a fault."""
    oracle = Oracle(STRANGE, ORACLE.numerics)
    return AskedBuild(lambda: varied_engine(fault(name).changes, oracle) if name else oracle.engine())


@pytest.mark.parametrize(
    "name",
    ["", "failed-load-keeps-model", "eos-kept", pytest.param("bos-missing", marks=pytest.mark.slow)],
)
def test_every_field_is_found_behind_a_fault(name: str) -> None:
    """GEN-2, SL-8, ST-4, ID-3: counts, tokens and a model that stays are others; the places are found all the same."""
    named = find_names(build(name), CASES, ORACLE)
    constant = {"model_load_ms", "tokens_per_second"}  # nothing tells them from other zeros
    found = {field: item.place for field, item in named.fields.items() if field in OWN and field not in constant}
    assert found == {field: place for field, place in OWN.items() if field not in constant}
    assert not named.trouble


def test_a_place_with_the_name_of_a_hidden_field_is_no_other_ones() -> None:
    """GEN-2, DG-4: an EOS more in every prompt makes `promptTokens` like the number of generated tokens, often."""
    table = Dialect(DIAGNOSTIC_NAMES, (*CAMEL.items(), ("generated_tokens", "")), ()).table
    oracle = Oracle(replace(BASE, diagnostic_names=table), ORACLE.numerics)
    named = find_names(AskedBuild(lambda: varied_engine(fault("eos-kept").changes, oracle)), CASES, ORACLE)
    found = {name: item.place for name, item in named.fields.items() if name in DIAGNOSTIC_NAMES}
    assert found == {**CAMEL, "generated_tokens": ""}


CAMEL = {
    name: "".join([*name.split("_")[:1], *map(str.capitalize, name.split("_")[1:])])
    for name in DIAGNOSTIC_NAMES
    if name != "generated_tokens"
}


class Spoilt(AskedBuild):
    """A build that shows another value of a field in every third of the documents that have one."""

    def __init__(self, field: str) -> None:
        super().__init__(build().fresh)
        self.place = OWN[field]

    def answers(self, experiment: Case) -> list[BuildAnswer]:
        """Return the answers, some documents with another value."""
        changed = list(super().answers(experiment))
        showing = [each for each, answer in enumerate(changed) if answer.document and answer.document[self.place]]
        for index in showing[::3]:
            document = dict(changed[index].document or {})
            value = document[self.place]
            document[self.place] = [[token + 1, logit] for token, logit in value] if type(value) is list else value + 1
            changed[index] = replace(changed[index], document=document)
        return changed


def test_no_fault_is_taken_that_hides_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """DG-4, ID-3: a field that agrees in most documents is not given up for a fault under which it agrees in none."""

    def hiding(_build: AskedBuild, case: Case, _changes: object, oracle: Oracle) -> list[Observation]:
        """Return the answers of an oracle whose counts are like no build's."""
        answers = observe(case, oracle.engine(), BASE)
        return [
            replace(each, diagnostics={**each.diagnostics, "kv_length": -1})
            if isinstance(each, StatusAnswer) and each.diagnostics is not None
            else each
            for each in answers
        ]

    monkeypatch.setattr(naming, "_changes", lambda _oracle: [None])
    monkeypatch.setattr(naming, "_varied", hiding)
    item = find_names(Spoilt("kv_length"), CASES, ORACLE).fields["kv_length"]
    assert item.place == OWN["kv_length"]
    assert 0 < item.agreed < item.shown


def test_what_follows_from_options_asks_for_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """SA-3, ID-3: a right build ranks otherwise by other options; then no fault is tried, which would take a minute."""
    tried: list[Oracle] = []
    monkeypatch.setattr(naming, "_changes", lambda oracle: [tried.append(oracle)][:0])
    item = find_names(Spoilt("top_tokens"), CASES, ORACLE).fields["top_tokens"]
    assert item.place == OWN["top_tokens"]
    assert 0 < item.agreed < item.shown
    assert not tried
    find_names(Spoilt("kv_length"), CASES, ORACLE)
    assert tried


def test_a_fault_hides_fields_from_the_contract_alone() -> None:
    """The control: by the contract's own values the same documents show fewer fields, and places are left over."""
    shown = documents("bos-missing")
    found = find_fields(shown)
    hidden = {name for name in ("prompt_tokens", "kv_length", "tokenizer_output") if not found[name].shows}
    assert len(hidden) == 3
    assert {OWN[name] for name in hidden} <= set(unclaimed(found, shown))


def documents(name: str) -> list[Shown]:
    """Return the documents of a build with a fault beside what the contract says."""
    asked, shown = build(name), []
    for case in CASES:
        session = StepRunner(Client(ORACLE.engine()), BASE, case.models)
        mine = [session.run(step) for step in case.steps]
        for index, (expected, answer) in enumerate(zip(mine, asked.answers(case), strict=False)):
            if isinstance(expected, StatusAnswer) and expected.diagnostics is not None and answer.document is not None:
                shown.append(Shown(expected.diagnostics, answer.document, expected.code, case.name, index))
    return shown


def test_a_text_that_stays_is_still_that_of_failures() -> None:
    """ERR-3, ERR-5: after success the text of the failure before is there; the place is found, and it is said."""
    named = find_names(build("error-kept"), CASES, ORACLE)
    item = named.fields["last_error"]
    assert (item.place, item.status) == (OWN["last_error"], "observed")
    assert item.agreed < item.shown
    assert item.reason == f"a failure's text stays in {item.shown - item.agreed} documents of what went well"


def test_a_summary_that_differs_in_a_few_documents_stays_whole() -> None:
    """DG-4, ID-3: its parts, which agree wherever there is one, are not taken for fields that lie apart."""
    shown: Sequence[Shown] = documents("")
    bad = [place for place, each in enumerate(shown) if each.expected["logits_summary"] is None][:2]
    assert len(bad) == 2
    summary = next(each.document[OWN["logits_summary"]] for each in shown if each.document[OWN["logits_summary"]])
    spoilt = [
        replace(each, document={**each.document, OWN["logits_summary"]: summary}) if place in bad else each
        for place, each in enumerate(shown)
    ]
    item = find_fields(spoilt)["logits_summary"]
    assert (item.place, item.agreed) == (OWN["logits_summary"], len(shown) - 2)


def test_a_summary_that_is_an_array_lies_in_parts() -> None:
    """DG-6, ID-3: under the contract's own name, too, where the place is known by its name alone."""
    shown = [
        replace(each, document={**each.document, "logits_summary": _listed(each.document[OWN["logits_summary"]])})
        for each in documents("")
    ]
    found = find_fields([replace(each, document=_without(each.document)) for each in shown])
    assert found["logits_summary"].reason == IN_PARTS
    places = [found[f"logits_summary.{part}"].place for part in ("min", "max", "mean")]
    assert places == [f"/logits_summary/{place}" for place in range(3)]


def _listed(summary: object) -> object:
    return list(summary.values()) if isinstance(summary, dict) else summary


def _without(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != OWN["logits_summary"]}


@pytest.mark.parametrize("factor", [1 + 2.0**-20, 1.01])
def test_logits_that_are_a_little_off_are_found_by_their_numbers(factor: float) -> None:
    """DG-4, DG-6, ID-3: they are no other field's, and nothing is told of them before the options are known."""
    shown = [replace(each, document=_scaled(each.document, factor)) for each in documents("")]
    found = by_values(find_fields(shown), shown)
    near = factor < 1.001
    for name in OF_LOGITS:
        assert (found[name].place, found[name].nearly) == ((OWN[name], True) if near else ("", False))


def test_ids_that_go_on_behind_the_prompt_are_found_by_their_beginning() -> None:
    """DG-6, ID-3: a list of all tokens is the one of the prompt, wrong; one of other ids is none."""
    place = OWN["tokenizer_output"]
    shown = [replace(each, document={**each.document, place: _longer(each.document[place])}) for each in documents("")]
    found = by_values(find_fields(shown), shown)["tokenizer_output"]
    assert (found.place, found.status, found.nearly) == (place, "assumed", True)
    other = [replace(each, document={**each.document, place: each.document[place][::-1]}) for each in shown]
    assert not by_values(find_fields(other), other)["tokenizer_output"].place


def _longer(ids: str) -> str:
    return ids and f"{ids},97"


@pytest.mark.parametrize(("place", "told"), [("/counts/kv-length", True), ("/counts/cells", False)])
def test_a_name_makes_up_for_some_of_the_documents(place: str, told: bool) -> None:
    """DG-8, GEN-5, ID-3: a length that is one short in half of the documents is found by its name as well."""
    shown = [
        replace(each, document={**_without_length(each), **_nested(place, _one_short(each))}) for each in documents("")
    ]
    right = sum(_one_short(each) == each.expected["kv_length"] for each in shown)
    assert 0.4 * len(shown) <= right < 0.6 * len(shown)
    found = find_fields(shown)["kv_length"]
    assert (found.place, found.status, found.nearly) == ((place, "observed", True) if told else ("", "absent", False))


def _without_length(each: Shown) -> dict[str, Any]:
    return {name: value for name, value in each.document.items() if name != OWN["kv_length"]}


def _nested(place: str, value: int) -> dict[str, Any]:
    _, outer, inner = place.split("/")
    return {outer: {inner: value}}


def _one_short(each: Shown) -> int:
    length: int = each.expected["kv_length"]
    return length - 1 if each.expected["generated_tokens"] and length % 7 else length


def _scaled(document: Mapping[str, Any], factor: float) -> dict[str, Any]:
    top, summary = document[OWN["top_tokens"]], document[OWN["logits_summary"]]
    changed = {OWN["top_tokens"]: [[token, logit * factor] for token, logit in top]}
    if summary is not None:
        changed[OWN["logits_summary"]] = {part: value * factor for part, value in summary.items()}
    return {**document, **changed}
