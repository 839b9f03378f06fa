"""A build that lacks a feature is not called wrong for it, and every report says what it lacks."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from refruntime.battery.catalogue import default_battery, generation_models
from refruntime.battery.features import feature_finder, needs_of
from refruntime.battery.models.slm1 import random_model
from refruntime.battery.random_sessions import random_sessions
from refruntime.battery.slm1 import SMALL
from refruntime.cases.features import Found
from refruntime.cases.steps import INIT, Case, Load
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.differential.case_result import CaseResult, SuiteResult
from refruntime.differential.report.about import About
from refruntime.differential.report.github import github_annotations
from refruntime.differential.report.json_document import json_document
from refruntime.differential.report.junit import junit_xml
from refruntime.differential.report.text import absent_lines, text_report
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import FINE, Verdict
from refruntime.hypotheses.explain import Explainer
from tests.support.builds import changed_build, without

PROFILE = Profile()
ABOUT = About("build.wasm", "ab" * 32, PROFILE)
SCALING = "gguf/rotary/linear"
PLAIN = Case("plain/f32", (INIT, Load("m")), {"m": random_model(7, SMALL, profile=PROFILE)})


def run(feature: str, status: int, cases: list[Case] | tuple[Case, ...]) -> SuiteResult:
    build = without(feature, status)
    return Suite(build, Oracle(), features=feature_finder(build, PROFILE)).run(cases)


def test_a_build_without_rotary_scaling_is_right() -> None:
    """ID-1: the cases that need the scaling are UNSUPPORTED with the reason, the others are judged."""
    cases = default_battery(PROFILE, patterns=["gguf/*scal*", "generate/gguf-f32-*probe"])
    needing = {case.name for case in cases if SCALING in needs_of(case)}
    assert {"generate/gguf-f32-linear-scaling-probe", "gguf/linear-scaling-of-1"} <= needing
    result = run(SCALING, 6, cases)
    assert {item.case.name for item in result.cases if item.verdict is Verdict.UNSUPPORTED} == needing
    assert {item.verdict for item in result.cases} <= FINE
    assert result.exit_code == 0
    assert result.absent == {SCALING: len(needing)}
    reason = next(item.reason for item in result.cases if item.verdict is Verdict.UNSUPPORTED)
    text = "the build does not have linear rotary scaling in GGUF files: it refuses the plain file with InvalidHeader"
    assert reason == f"{text} (ID-1)"


@pytest.mark.parametrize(("feature", "status"), [(SCALING, 6), ("slm1/storage/q4_0", 10), ("slm1/tokenizer/bpe1", 6)])
def test_random_sessions_need_what_their_models_need(feature: str, status: int) -> None:
    """ID-1: a random session over a model that the build cannot have is not held against it."""
    result = run(feature, status, tuple(random_sessions(3, 12, generation_models(PROFILE))))
    assert {item.verdict for item in result.cases} <= FINE
    judged = [item for item in result.cases if item.verdict is not Verdict.UNSUPPORTED]
    assert len(judged) >= 4
    assert all(feature not in needs_of(item.case) for item in judged)


def test_an_accepted_feature_is_held_to_the_contract() -> None:
    """ID-1: a build that takes the plain file but refuses another file of that kind is wrong."""
    q8 = next(case for case in default_battery(PROFILE, patterns=["generate/slm1-q8_0-greedy"]))
    build = without("slm1/storage/q8_0", 7)  # a malformed directory is no lack
    result = Suite(build, Oracle(), features=feature_finder(build, PROFILE)).run([q8])
    assert result.cases[0].verdict is Verdict.ONLY_WASM_FAILED
    assert not result.absent


def test_a_build_without_slm1_fails_with_one_message() -> None:
    """ID-1: where the plain SLM1 file is refused one case says so; nothing else blames the build or passes."""
    cases = [PLAIN, *(Case(f"plain/{number}", PLAIN.steps, PLAIN.models) for number in range(5))]
    result = run("slm1", 6, cases)
    first, *others = result.cases
    assert (first.case.name, first.verdict) == ("features/slm1", Verdict.ONLY_WASM_FAILED)
    assert first.reason == (
        "the build has to load SLM1 files (f32 weights, byte tokenizer), but refuses the plain file with "
        "InvalidHeader; what needs it is not judged (ID-1)"
    )
    assert {item.verdict for item in others} == {Verdict.UNSUPPORTED}
    assert result.exit_code == 1
    assert text_report(result, ABOUT).count("ONLY_WASM_FAILED features/slm1") == 1


def test_another_checksum_is_suspected() -> None:
    """SL-5: a build with another formula refuses every file; the one case that shows it is explained by that rule."""
    build = changed_build(Profile(checksum_order="mix, multiply, rotate"))
    oracle = Oracle()
    suite = Suite(build, oracle, Explainer(oracle), feature_finder(build, PROFILE)).run([PLAIN, PLAIN])
    first, *others = suite.cases
    assert first.explanation is not None
    assert ("rule", "SL-5") in first.explanation.lines
    assert {item.verdict for item in others} == {Verdict.UNSUPPORTED}
    assert suite.exit_code == 1


def test_every_report_lists_what_is_absent() -> None:
    """ID-1: text, JSON, JUnit and the notice for GitHub name the feature, the status and how many cases need it."""
    q4 = default_battery(PROFILE, patterns=["generate/slm1-q4_0-*"])
    result = run("slm1/storage/q4_0", 10, [PLAIN, *q4])
    text = text_report(result, ABOUT)
    assert "absent, because the build refuses a plain file of it: slm1/storage/q4_0 (UnsupportedDType, 4 cases)" in text
    document = json.loads(json.dumps(json_document(result, ABOUT)))
    assert document["build"]["absent"] == {"slm1/storage/q4_0": "UnsupportedDType"}
    root = ElementTree.fromstring(junit_xml(result, ABOUT))
    (entry, *_) = root.findall("testsuite/properties/property")
    assert entry.get("name") == "absent slm1/storage/q4_0"
    assert "the build does not have q4_0 weights in SLM1 files" in str(entry.get("value"))
    assert "; the build does not have slm1/storage/q4_0" in github_annotations(result, ABOUT)[-1]


def test_many_absent_features_share_lines() -> None:
    """ID-1: features of one kind that are refused alike stand in one line, with the sum of their cases."""
    types = ["bf16", "i8", "iq1_m", "iq1_s", "iq2_s", "iq2_xs", "iq2_xxs", "iq3_s", "iq3_xxs", "iq4_nl", "iq4_xs"]
    absent = {f"gguf/storage/{name}": Status.UnsupportedDType for name in types}
    absent |= {"gguf/rotary/yarn": Status.InvalidHeader, "gguf/storage/f64": Status.InvalidHeader}
    found = Found((), absent)
    lacking = [
        CaseResult(PLAIN, Verdict.UNSUPPORTED, found.reason([f"gguf/storage/{name}"])) for name in ("bf16", "i8", "i8")
    ]
    suite = replace(run("slm1/storage/q4_0", 10, [PLAIN]), found=found, cases=tuple(lacking))
    assert absent_lines(suite) == [
        "absent, because the build refuses a plain file of it:",
        "  gguf/storage (UnsupportedDType, 3 cases): bf16, i8, iq1_m, iq1_s, iq2_s, iq2_xs, iq2_xxs, iq3_s and 3 more",
        "  gguf/rotary/yarn (InvalidHeader, 0 cases)",
        "  gguf/storage/f64 (InvalidHeader, 0 cases)",
    ]
