"""Reports of a comparison: what they must say, for people, machines, JUnit readers and GitHub."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from refruntime import Profile
from refruntime.battery.features import feature_finder
from refruntime.battery.models.slm1 import story_model, table_model
from refruntime.cases.steps import INIT, NEXT_TOKEN, RESET, Case, Configure, Generate, Load
from refruntime.differential.case_result import SuiteResult
from refruntime.differential.report.about import About
from refruntime.differential.report.github import github_annotations
from refruntime.differential.report.json_document import JSON_VERSION, json_document
from refruntime.differential.report.junit import junit_xml
from refruntime.differential.report.text import SHOWN_CASES, text_report
from refruntime.differential.report.values import visible
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite
from tests.support.builds import HIDDEN_LOGITS, TROUBLES, Misbehaving, changed_build

PROFILE = Profile()
STORY = {"story": story_model(PROFILE)}
FINE = Case("good/fine", (INIT, Load("story"), Generate(b"a", 2)), STORY, ("GEN-5",))
RESETTING = Case("bad/reset", (Load("story"), Generate(b"a", 3), RESET), STORY, ("ST-5",))
EVEN = {"even": table_model({}, otherwise=dict.fromkeys(b"abcdefgh", 0.0), profile=PROFILE)}
DRAWING = Case("bad/draw", (Load("even"), Configure(1.0, 8, 1.0, 9), Generate(b"-", 8), NEXT_TOKEN), EVEN, ("PR-1",))
ABOUT = About(
    "build.wasm",
    "ab" * 32,
    Profile(draw_comparison="<="),
    "declared",
    ("the module declares everything",),
    {"engine": "wasmtime 1.2.3"},
    "refruntime diff build.wasm",
)


@pytest.fixture(scope="module")
def suite() -> SuiteResult:
    """A run with a match, a state that differs, and a draw that differs."""
    build = changed_build(Profile(reset_result="unchanged", xorshift="7,9,8"))
    return Suite(build, Oracle()).run([FINE, RESETTING, DRAWING])


def block(text: str, name: str) -> str:
    """Return the lines of the report about one case."""
    (found,) = [part for part in text.split("\n\n") if name in part.splitlines()[0]]
    return found


def test_header_says_under_which_conditions(suite: SuiteResult) -> None:
    """ABI-5: contract and its source, profile and its differences, artifact and engine are named."""
    header = text_report(suite, ABOUT).split("\n\n")[0]
    for fact in ("build.wasm", "ab" * 32, "0.1.0 (declared)", ABOUT.profile.fingerprint, "SA-6 = <=", "wasmtime 1.2.3"):
        assert fact in header
    assert "declares everything" in header


def test_first_divergence_of_a_result(suite: SuiteResult) -> None:
    """ST-5: the step, how many matched, both texts, the offset, the rules and the way to see it again."""
    text = block(text_report(suite, ABOUT), "bad/reset")
    head, *rest = text.splitlines()
    assert head.startswith("MISMATCH bad/reset [build.wasm]  step 2 reset_context()")
    assert "steps 0-1 match" in head
    body = "\n".join(rest)
    assert "0 and 3 bytes differ at offset 0" in body
    assert 'oracle  ""' in body
    assert 'build   "bcd"' in body
    assert "refruntime diff build.wasm --filter bad/reset   (ST-5)" in body


def test_first_divergence_of_a_token(suite: SuiteResult) -> None:
    """PR-1: the two tokens as ids and text, the margin against the band, and that it is no near tie."""
    text = block(text_report(suite, ABOUT), "bad/draw")
    (token,) = [line for line in text.splitlines() if line.split()[0] == "token"]
    (margin,) = [line for line in text.splitlines() if line.split()[0] == "margin"]
    assert "oracle" in token
    assert "build" in token
    assert token.count('"') == 4
    assert "of the mass" in margin
    assert "not a near tie" in margin


def test_summary_counts_by_family(suite: SuiteResult) -> None:
    """The table has a row for each family and the sum; nothing is lost here, and the verdicts are explained."""
    table = text_report(suite, ABOUT).split("\n\n")[-1]
    rows = {line.split()[0]: line.split() for line in table.splitlines()[:4]}
    assert rows["good"][1:3] == ["1", "3"]
    assert rows["bad"][1:3] == ["2", "6"]
    assert rows["total"][1:3] == ["3", "9"]
    assert "1 MATCH, 2 MISMATCH" in " ".join(rows["total"])
    assert "not compared" not in table


def test_summary_says_what_was_lost() -> None:
    """DG-3: fields that the build does not show are named with their number, and what that means for arithmetic."""
    build = changed_build(Profile(**HIDDEN_LOGITS))  # type: ignore[arg-type]
    text = text_report(Suite(build, Oracle()).run([FINE]), ABOUT)
    assert "logits_summary (3x), top_tokens (3x)" in text
    assert "no logits" in text


def test_empty_run_says_so() -> None:
    """A report about nothing does not look like success."""
    assert "nothing was compared" in text_report(Suite(changed_build(), Oracle()).run([]), ABOUT)


def test_many_divergences_are_named_but_not_all_shown() -> None:
    """A build that is wrong everywhere gives a report that can be read."""
    cases = [Case(f"bad/reset-{n}", RESETTING.steps, STORY) for n in range(SHOWN_CASES + 3)]
    suite = Suite(changed_build(Profile(reset_result="unchanged")), Oracle()).run(cases)
    text = text_report(suite, ABOUT)
    assert text.count("step 2 reset_context()") == SHOWN_CASES
    assert "3 more:" in text
    assert f"bad/reset-{SHOWN_CASES + 2}" in text


def test_crash_names_its_traceback() -> None:
    """A crash of the oracle shows its last line and the file of the traceback, or the traceback without a file."""

    def bind(*_: object) -> None:
        raise ZeroDivisionError("planted")

    suite = Suite(changed_build(), Oracle(bind=bind)).run([FINE])  # type: ignore[arg-type]
    saved = text_report(suite, ABOUT, {"good/fine": "/somewhere/fine.txt"})
    assert "ZeroDivisionError: planted; traceback in /somewhere/fine.txt" in saved
    assert "Traceback (most recent call last)" not in saved
    assert "Traceback (most recent call last)" in text_report(suite, ABOUT)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", '"plain"'),
        (b"\0\n\x7f", '"\\x00\\n\\x7f"'),
        (b"\xff\xc3", '"\\xff\\xc3"'),
        ("é漢".encode(), '"é漢"'),
        (b'"\\', '"\\"\\\\"'),
        ("\u2028\u202e".encode(), '"\\u2028\\u202e"'),
    ],
)
def test_text_of_a_build_is_made_visible(raw: bytes, shown: str) -> None:
    """Whatever bytes a build answers, a report shows them in one line without ambiguity."""
    assert visible(raw) == shown


def test_json_document(suite: SuiteResult) -> None:
    """One document with everything; it survives strict JSON."""
    document = json.loads(json.dumps(json_document(suite, ABOUT), allow_nan=False))
    assert document["version"] == JSON_VERSION == 1
    assert document["exit_code"] == 1
    assert document["contract"]["source"] == "declared"
    assert document["contract"]["differences"] == {"SA-6": "<="}
    assert document["summary"]["verdicts"] == {"MATCH": 1, "MISMATCH": 2}
    assert [family["name"] for family in document["families"]] == ["good", "bad"]
    fine, reset, draw = document["cases"]
    assert (fine["verdict"], fine["first_difference"], fine["differences"]) == ("MATCH", None, [])
    assert reset["first_difference"] == {"step": 2, "call": "reset_context()"}
    assert reset["differences"] == [{"field": "result", "reference": "", "build": b"bcd".hex()}]
    assert draw["flip"]["unit"] == "probability mass"
    assert draw["flip"]["near_tie"] is False
    assert reset["repro"] == "refruntime diff build.wasm --filter bad/reset"


def test_junit(suite: SuiteResult) -> None:
    """A suite for each family, failures with the whole block; counts agree with the elements."""
    root = ElementTree.fromstring(junit_xml(suite, ABOUT))
    good, bad = root.findall("testsuite")
    assert [(good.get("tests"), good.get("failures")), (bad.get("tests"), bad.get("failures"))] == [
        ("1", "0"),
        ("2", "2"),
    ]
    failures = bad.findall("testcase/failure")
    assert len(failures) == 2
    assert failures[0].get("type") == "MISMATCH"
    assert "differ at offset 0" in (failures[0].text or "")


def test_junit_errors_and_skips() -> None:
    """A crash is an error, an unsupported case is skipped, a hang is a failure; control characters do no harm."""

    def bind(*_: object) -> None:
        raise ZeroDivisionError("planted \x00 \ufffe")

    suite = Suite(changed_build(), Oracle(bind=bind)).run([FINE])  # type: ignore[arg-type]
    assert ElementTree.fromstring(junit_xml(suite, ABOUT)).find("testsuite/testcase/error") is not None
    gguf = Case("x/gguf", (Load("m"),), {"m": b"GGUF" + bytes(30)})
    build = changed_build(Profile(containers=("slm1",)))
    suite = Suite(build, Oracle(), features=feature_finder(build, Profile())).run([gguf])
    assert ElementTree.fromstring(junit_xml(suite, ABOUT)).find("testsuite/testcase/skipped") is not None
    suite = Suite(lambda: Misbehaving("generate", TROUBLES["limit"]), Oracle()).run([FINE])
    failure = ElementTree.fromstring(junit_xml(suite, ABOUT)).find("testsuite/testcase/failure")
    assert failure is not None
    assert "stopped after" in (failure.get("message") or "")


def test_github_annotations(suite: SuiteResult) -> None:
    """One error for each case that is not fine, one notice; every command is one line with escaped properties."""
    lines = github_annotations(suite, ABOUT)
    assert [line.split("::")[1].split(" ")[0] for line in lines] == ["error", "error", "notice"]
    assert all("\n" not in line for line in lines)
    assert "title=MISMATCH bad/reset::" in lines[0]
    assert "%0A" in lines[0]
    assert "3 cases, 9 steps" in lines[-1]
