"""The sessions that tell fields show a build's own fields whatever its numbers are (DG-3, DG-6)."""

from __future__ import annotations

import pytest

from refruntime.cases.observation import diagnostics_of
from refruntime.cases.observe import StepRunner
from refruntime.client import Client
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.differential.run import Oracle
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.hypothesis import varied_engine
from refruntime.identify.calls import naming_sessions
from refruntime.identify.field_bugs import field_bugs, without_wrong_fields
from refruntime.identify.fields import CONSTANT, Shown, find_fields
from refruntime.identify.likeness import by_likeness
from refruntime.numerics import CompiledSeq32

BASE = Profile()
ORACLE = Oracle(BASE, CompiledSeq32(1))


@pytest.mark.parametrize("text", ["keys and values are stored in float16"])
def test_a_wrong_attention_changes_no_document(text: str) -> None:
    """FW-6, FW-9: logits follow from the last token alone."""
    faults = [item for item in catalogue(BASE) if text in item.text]
    for fault in faults:
        for case in list(naming_sessions(BASE))[:2]:
            sides = []
            for engine in (ORACLE.engine(), varied_engine(fault.changes, ORACLE)):
                session = StepRunner(Client(engine), BASE, case.models)
                sides.append([session.run(step) for step in case.steps])
            assert sides[0] == sides[1]
    assert faults


def test_every_field_has_several_values() -> None:
    """DG-6: a field is what its values do; min, max and mean of the logits change from token to token too."""
    seen: dict[str, set[str]] = {}
    for case in naming_sessions(BASE):
        session = StepRunner(Client(ORACLE.engine()), BASE, case.models)
        for step in case.steps:
            document = diagnostics_of(session.run(step))
            for name, value in document.items():
                parts = value if isinstance(value, dict) else {"": value}
                for part, item in parts.items():
                    seen.setdefault(f"{name}.{part}" if part else name, set()).add(str(item))
    few = {name for name, values in seen.items() if len(values) < 3}
    assert few == {"model_load_ms", "tokens_per_second", "model_loaded", "logits_summary"}  # the last has parts
    assert set(DIAGNOSTIC_NAMES) <= {name.partition(".")[0] for name in seen}


def test_a_word_of_many_fields_names_none() -> None:
    """DG-4: of what is always 0 only the name speaks, and `tokens` is in the names of five fields."""
    case = next(naming_sessions(BASE))
    session = StepRunner(Client(ORACLE.engine()), BASE, case.models)
    expected = [document for step in case.steps if (document := diagnostics_of(session.run(step)))]
    zero = {"dropped_tokens": 0, "speed": 0, "loadMs": 0}
    shown = [
        Shown(each, {**{name: value for name, value in each.items() if name not in CONSTANT}, **zero}, 0, case.name, 0)
        for each in expected
    ]
    found = find_fields(shown)
    assert not found["tokens_per_second"].place
    assert found["model_load_ms"].place == "loadMs"


def test_a_bug_in_a_document_hides_no_form() -> None:
    """DG-3, ID-3: what stands for "none" is what does so nearly always; a stale field is a bug of the build."""
    case = next(naming_sessions(BASE))
    session = StepRunner(Client(ORACLE.engine()), BASE, case.models)
    expected = [document for step in case.steps if (document := diagnostics_of(session.run(step)))]
    theirs = [{**each, "top_tokens": each["top_tokens"] or None} for each in expected]
    stale = next(place for place, each in enumerate(theirs) if each["top_tokens"] is None)
    theirs[stale]["top_tokens"] = next(each["top_tokens"] for each in theirs if each["top_tokens"])
    shown = [Shown(mine, document, 0, case.name, 0) for mine, document in zip(expected, theirs, strict=True)]
    found = find_fields(shown)["top_tokens"]
    assert (found.place, found.form, found.agreed) == ("top_tokens", "none=null", len(shown) - 1)


def test_a_field_that_a_bug_made_wrong_is_found_by_its_name() -> None:
    """DG-5, ID-3: a renamed field whose values go with the contract's is that field; a wrong one is a bug of it."""
    case = next(naming_sessions(BASE))
    session = StepRunner(Client(ORACLE.engine()), BASE, case.models)
    expected = [document for step in case.steps if (document := diagnostics_of(session.run(step)))]
    shown = [
        Shown(
            each,
            {
                **{name: value for name, value in each.items() if name not in ("peak_scratch_bytes", "top_tokens")},
                "scratch": each["peak_scratch_bytes"] * 2 + 1,
                "step": {"top_tokens": [[7, 0.25]]},
            },
            0,
            case.name,
            0,
        )
        for each in expected
    ]
    found = by_likeness(find_fields(shown), shown)
    assert {each["peak_scratch_bytes"] for each in expected} != {0}
    assert (found["peak_scratch_bytes"].place, found["peak_scratch_bytes"].status) == ("scratch", "assumed")
    assert (found["top_tokens"].place, found["top_tokens"].status) == ("/step/top_tokens", "assumed")
    (bug,) = field_bugs(found, shown)
    assert (bug.rule, bug.broken, bug.of) == ("DG-5", len(shown), len(shown))
    assert set(without_wrong_fields(found)) == set(found)
    assert not without_wrong_fields(found)["peak_scratch_bytes"].place


@pytest.mark.parametrize(
    ("name", "value", "rules"), [("tokens_per_second", 7, ["DG-4"]), ("last_error", "another", [])]
)
def test_a_wrong_field_breaks_its_own_rule(name: str, value: object, rules: list[str]) -> None:
    """DG-4, ERR-3: what must be 0 and is not breaks DG-4; a text is the build's own choice."""
    case = next(naming_sessions(BASE))
    session = StepRunner(Client(ORACLE.engine()), BASE, case.models)
    expected = [document for step in case.steps if (document := diagnostics_of(session.run(step)))]
    shown = [Shown(each, {**each, name: value}, 0, case.name, 0) for each in expected]
    found = by_likeness(find_fields(shown), shown)
    assert found[name].place == name
    assert [bug.rule for bug in field_bugs(found, shown)] == rules


def test_one_place_is_that_of_one_field() -> None:
    """ID-3: of a build that does not show whether a model is loaded, nothing that goes with it is taken for that."""
    case = next(naming_sessions(BASE))
    session = StepRunner(Client(ORACLE.engine()), BASE, case.models)
    expected = [document for step in case.steps if (document := session.run(step).diagnostics)]
    assert {(each["quantization"], each["model_loaded"]) for each in expected} == {("none", False), ("f32", True)}
    without = [{name: value for name, value in each.items() if name != "model_loaded"} for each in expected]
    shown = [Shown(each, document, 0, case.name, 0) for each, document in zip(expected, without, strict=True)]
    found = find_fields(shown)
    assert (found["quantization"].place, found["quantization"].status) == ("quantization", "observed")
    assert (found["model_loaded"].place, found["model_loaded"].status) == ("", "absent")
    assert found["model_loaded"].reason.startswith("its place ")
    places = [item.place for item in found.values() if item.place]
    assert len(places) == len(set(places))
