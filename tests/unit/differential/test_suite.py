"""Verdicts on builds that differ, fail, trap, hang, show less, or crash the oracle; nothing stops the run."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from refruntime import Profile
from refruntime.battery.features import FEATURES, feature_finder
from refruntime.battery.models.slm1 import BTOK, Shape, follow, random_weights, story_model, table_model
from refruntime.cases.steps import INIT, NEXT_TOKEN, RESET, Call, Case, Configure, Generate, Load, Write
from refruntime.containers.slm1_writer import write_slm1
from refruntime.contract.profile import DIAGNOSTIC_NAMES
from refruntime.differential.case_result import CaseResult
from refruntime.differential.patience import MOST_DEAD
from refruntime.differential.run import Oracle, PairRun
from refruntime.differential.runner import MOST_EXPLAINED
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import Verdict
from refruntime.engines.base import Engine
from refruntime.engines.reference import ReferenceEngine
from refruntime.model.binding import BoundModel
from refruntime.model.slm1.encode import encode_tensor
from refruntime.numerics import F64
from refruntime.runtime import Machine, Runtime
from refruntime.sampling import Choice, sample
from tests.support.builds import HIDDEN_LOGITS, TROUBLES, Misbehaving, changed_build

PROFILE = Profile()
STORY = {"story": story_model(PROFILE)}
SHORT = Case("family/short", (INIT, Load("story"), Generate(b"a", 2), NEXT_TOKEN), STORY, ("GEN-5",))
FAILING = Case("family/failing", (INIT, NEXT_TOKEN), {}, ("NT-1",))


def judge(case: Case, build: Any = None, oracle: Oracle | None = None) -> CaseResult:
    """Judge one case."""
    (result,) = Suite(build or changed_build(), oracle or Oracle()).run([case]).cases
    return result


def test_equal_engines_match() -> None:
    """A case without a difference is MATCH; the numbers say how much was compared."""
    suite = Suite(changed_build(), Oracle()).run([SHORT, replace(SHORT, name="other/short")])
    assert [result.verdict for result in suite.cases] == [Verdict.MATCH] * 2
    assert [(family.name, family.cases, family.steps, family.tokens) for family in suite.families] == [
        ("family", 1, 4, 3),
        ("other", 1, 4, 3),
    ]
    assert suite.total.fields == 2 * 4 * (2 + len(DIAGNOSTIC_NAMES))
    assert suite.exit_code == 0


def test_same_failure_on_both_sides() -> None:
    """NT-1: a case that ends in the same status on both sides is BOTH_FAILED, which is fine."""
    suite = Suite(changed_build(), Oracle()).run([FAILING])
    assert suite.cases[0].verdict is Verdict.BOTH_FAILED
    assert suite.exit_code == 0


def test_run_that_compares_nothing_fails() -> None:
    """An empty run has shown nothing: exit code 1."""
    assert Suite(changed_build(), Oracle()).run([]).exit_code == 1


def test_only_one_side_fails() -> None:
    """GEN-9: a status on one side only names the side."""
    case = Case("family/utf-8", (Load("story"), Generate(b"x", 1), RESET), STORY)
    lossy = Profile(invalid_output_utf8="lossy")
    result = judge(case, changed_build(lossy))
    assert (result.verdict, result.comparison.matched) == (Verdict.ONLY_REF_FAILED, 1)
    assert result.reason == "oracle InvalidUtf8 (3), build Ok (0)"
    result = judge(case, changed_build(), Oracle(lossy))
    assert (result.verdict, result.reason) == (Verdict.ONLY_WASM_FAILED, "oracle Ok (0), build InvalidUtf8 (3)")


def test_different_failures_are_a_mismatch() -> None:
    """NT-2: two different statuses are MISMATCH, not a failure of one side."""
    case = Case("family/no-context", (Load("story"), NEXT_TOKEN), STORY)
    result = judge(case, changed_build(Profile(continuation_without_context="2")))
    assert result.verdict is Verdict.MISMATCH
    assert result.comparison.first is not None
    assert (result.comparison.first.reference, result.comparison.first.build) == (
        "GenerationFailed (13)",
        "InvalidLength (2)",
    )


@pytest.mark.parametrize(
    ("trouble", "verdict"),
    [("trap", Verdict.ONLY_WASM_FAILED), ("limit", Verdict.POISONED), ("fault", Verdict.ONLY_WASM_FAILED)],
)
def test_trouble_of_the_build(trouble: str, verdict: Verdict) -> None:
    """MEM-6: a build that traps, hangs or names memory that it does not have is judged, and the next case runs."""
    suite = Suite(lambda: Misbehaving("generate", TROUBLES[trouble]), Oracle()).run([SHORT, FAILING])
    assert [result.verdict for result in suite.cases] == [verdict, Verdict.BOTH_FAILED]
    assert suite.cases[0].comparison.matched == 2
    assert suite.exit_code == 1


def test_same_trap_on_both_sides() -> None:
    """MEM-6: a trap that the contract demands is no difference, and what follows is compared."""
    case = Case("family/trap", (Call("load_model", (0xFFFF0000, 16)), INIT, Call("last_result_ptr")))
    result = judge(case)
    assert (result.verdict, result.comparison.steps) == (Verdict.MATCH, 3)


def test_build_that_always_hangs_does_not_hang_the_suite() -> None:
    """Limits: after some stopped cases the build is not run again, and the report says so."""
    calls = []

    def build() -> Engine:
        calls.append(1)
        return Misbehaving("init_runtime", TROUBLES["limit"])

    cases = [replace(SHORT, name=f"family/{number}") for number in range(MOST_DEAD + 3)]
    suite = Suite(build, Oracle()).run(cases)
    assert [result.verdict for result in suite.cases] == [Verdict.POISONED] * len(cases)
    assert [result.reason.startswith("not run") for result in suite.cases] == [False] * MOST_DEAD + [True] * 3
    assert len(calls) == MOST_DEAD + 1  # one more finds out which diagnostics the build shows
    assert suite.exit_code == 1


def test_build_that_cannot_start() -> None:
    """A module that traps while it starts has failed every case, and nothing is raised."""

    def build() -> Engine:
        raise TROUBLES["trap"]()

    suite = Suite(build, Oracle()).run([SHORT])
    assert suite.cases[0].verdict is Verdict.ONLY_WASM_FAILED
    assert suite.exit_code == 1


def test_oracle_crash_is_a_verdict() -> None:
    """A bug in the oracle is told with its traceback, the other cases run, and the exit code is 4."""

    def bind(*_: object) -> BoundModel:
        raise ZeroDivisionError("planted")

    suite = Suite(changed_build(), Oracle(bind=bind)).run([SHORT, FAILING])
    assert [result.verdict for result in suite.cases] == [Verdict.ORACLE_CRASH, Verdict.BOTH_FAILED]
    assert "ZeroDivisionError: planted" in suite.cases[0].crash
    assert suite.exit_code == 4


def test_host_misuse_is_the_case_s_fault() -> None:
    """MEM-3, MEM-4: a case that does what is undefined says nothing about a build."""
    steps = (Call("alloc", (4,), bind="p"), Call("dealloc", ("p", 4)), Write("p", b"abcd"))
    result = judge(Case("family/misuse", steps))
    assert result.verdict is Verdict.UNSUPPORTED
    assert "undefined" in result.reason


def test_build_without_gguf() -> None:
    """GG-1: a build that refuses a GGUF file differs, unless it was asked and found not to have any."""
    case = Case("family/gguf", (Load("m"),), {"m": FEATURES["gguf"].make(PROFILE)})
    build = changed_build(Profile(containers=("slm1",)))
    assert judge(case, build).verdict is Verdict.ONLY_WASM_FAILED
    suite = Suite(build, Oracle(), features=feature_finder(build, PROFILE)).run([SHORT, case])
    assert [result.verdict for result in suite.cases] == [Verdict.MATCH, Verdict.UNSUPPORTED]
    assert suite.exit_code == 0


def test_fail_fast() -> None:
    """The cases behind the first that is not fine are counted as skipped."""
    suite = Suite(lambda: Misbehaving("generate", TROUBLES["trap"]), Oracle())
    result = suite.run([FAILING, SHORT, FAILING], max_fail=1)
    assert [item.verdict for item in result.cases] == [Verdict.BOTH_FAILED, Verdict.ONLY_WASM_FAILED]
    assert result.skipped == 1


def test_fields_that_a_build_never_shows_are_lost() -> None:
    """DG-3: fewer diagnostics lose only their own comparisons, and the result says which and how often."""
    build = changed_build(Profile(**HIDDEN_LOGITS))  # type: ignore[arg-type]
    suite = Suite(build, Oracle()).run([SHORT])
    assert suite.cases[0].verdict is Verdict.MATCH
    assert suite.lost == {"logits_summary": 4, "top_tokens": 4}
    assert suite.offered == frozenset(DIAGNOSTIC_NAMES) - suite.lost.keys()


def test_name_map_finds_renamed_fields() -> None:
    """DG-3: with the build's names in the profile nothing is lost."""
    profile = Profile(diagnostic_names=(("kv_length", "kv_len"), ("seed", "rng_seed")))
    suite = Suite(changed_build(profile), Oracle(profile)).run([SHORT])
    assert (suite.cases[0].verdict, suite.lost) == (Verdict.MATCH, {})


class SilentEngine(ReferenceEngine):
    """A build without diagnostics; `silent_after` calls of a status export it stops to show them."""

    def __init__(self, document: bytes = b"", *, from_call: int = 0) -> None:
        super().__init__(changed_build()().abi)  # type: ignore[attr-defined]
        self._document, self._from_call, self._calls = document, from_call, 0

    def call(self, export: str, *arguments: Any) -> int | None:
        self._calls += export in ("init_runtime", "load_model", "generate", "generate_next_token")
        if export == "get_diagnostics_len" and self._calls > self._from_call:
            return 0
        return super().call(export, *arguments)


def test_build_without_diagnostics_is_still_compared() -> None:
    """DG-1: status and result need no diagnostics."""
    suite = Suite(SilentEngine, Oracle()).run([SHORT])
    assert suite.cases[0].verdict is Verdict.MATCH
    assert suite.lost == dict.fromkeys(sorted(DIAGNOSTIC_NAMES), 4)
    wrong = changed_build(Profile(failed_call_result="empty"))
    assert judge(FAILING, wrong).verdict is Verdict.MISMATCH


def test_field_that_is_missing_at_one_step_differs() -> None:
    """DG-2: a document that a build shows at other steps is not lost but wrong."""
    result = judge(SHORT, lambda: SilentEngine(from_call=2))
    assert result.verdict is Verdict.MISMATCH
    assert result.comparison.first is not None
    assert (result.comparison.first.index, result.comparison.first.field) == (2, "model_load_ms")


# Near ties ---------------------------------------------------------------------------------------------------------


class Exact(Runtime):
    """A build that computes in float64: right within rounding, never to the bit."""

    def __init__(self, profile: Any, numerics: Any, tracer: Any) -> None:
        super().__init__(profile, F64(), tracer)


def twins() -> bytes:
    """Return a random model in which the output rows of ids 0..63 are those of 64..127 but for the last bits."""
    shape = Shape(hidden=32, layers=2, heads=4, ffn=64, capacity=64)
    weights = random_weights(41, shape)
    signs = np.where(np.arange(shape.hidden) % 2, np.float32(np.inf), np.float32(-np.inf))
    weights["output.weight"][:64] = np.nextafter(weights["output.weight"][64:128], signs)
    tensors = [encode_tensor(name, values) for name, values in weights.items()]
    return write_slm1(shape.parameters, BTOK, tensors, PROFILE)


HIDDEN = Profile(**HIDDEN_LOGITS)  # type: ignore[arg-type]
RUN = (Load("m"), Generate(b"tie", 30), Generate(b"other", 1), *[NEXT_TOKEN] * 20)


def test_near_ties_are_followed() -> None:
    """A float64 build without logits flips twins that float32 cannot tell apart; the run goes on behind them."""
    case = Case("family/twins", RUN, {"m": twins()})
    result = judge(case, changed_build(HIDDEN, runtime=Exact))
    assert result.verdict is Verdict.NEAR_TIE, (result.reason, result.flip)
    assert len(result.ties) > 3
    assert all(0 <= tie.margin <= tie.band < 1e-4 for tie in result.ties)
    assert all(abs(tie.build_token - tie.reference_token) == 64 for tie in result.ties)
    assert result.comparison.steps == len(case.steps)


def test_shown_logits_allow_no_near_tie() -> None:
    """DG-4: the bits of logits are defined, so the same build with its logits shown is a mismatch."""
    case = Case("family/twins", RUN, {"m": twins()})
    assert judge(case, changed_build(runtime=Exact)).verdict is Verdict.MISMATCH


def test_wide_margin_is_a_mismatch() -> None:
    """SA-1: a build that takes the second best token is wrong by the margin of its decision."""

    def second_best(logits: Any, *arguments: Any) -> Choice:
        return replace(sample(logits, *arguments), token=int(np.argsort(-logits, kind="stable")[1]))

    model = table_model(dict(follow(*b"abcdef")) | {97: {98: 3.0, 122: 2.5}}, profile=PROFILE)
    case = Case("family/second", (Load("m"), Generate(b"a", 1)), {"m": model})
    result = judge(
        case, changed_build(HIDDEN, runtime=partial(Runtime, machine=partial(Machine.fresh, sampler=second_best)))
    )
    assert result.verdict is Verdict.MISMATCH
    assert result.flip is not None
    assert (result.flip.reference_token, result.flip.build_token) == (98, 122)
    assert (result.flip.margin, result.flip.near_tie) == (0.5, False)


def test_wrong_draw_is_a_mismatch() -> None:
    """PR-1: another generator draws other tokens; the coin lies far from the edge that would explain them."""
    even = table_model({}, otherwise=dict.fromkeys(b"abcdefgh", 0.0), profile=PROFILE)
    case = Case("family/draw", (Load("m"), Configure(1.0, 8, 1.0, 9), Generate(b"-", 8)), {"m": even})
    result = judge(case, changed_build(replace(HIDDEN, xorshift="7,9,8")))
    assert result.verdict is Verdict.MISMATCH
    assert result.flip is not None
    assert result.flip.drawn
    assert 1e-3 < result.flip.margin < 1


def test_no_token_is_looked_for_where_none_was_chosen() -> None:
    """ST-5, ST-4: a result that differs after a reset, with no model or a refused one, is a plain mismatch."""
    refused = {"story": STORY["story"], "broken": STORY["story"][:-1] + b"\x55"}
    unchanged = changed_build(Profile(reset_result="unchanged"))
    for steps in (
        (NEXT_TOKEN, RESET),
        (Load("story"), Load("broken"), RESET),
        (Load("story"), Generate(b"a", 2), RESET),
    ):
        result = judge(Case("family/reset", steps, refused), unchanged)
        assert result.verdict is Verdict.MISMATCH, result.crash
        assert (result.comparison.matched, result.flip) == (len(steps) - 1, None)


def test_different_text_without_a_model_of_known_bytes() -> None:
    """NT-6: where the model came by a raw call, a different text is a mismatch whose margin is not known."""
    story = STORY["story"]
    raw = (Call("alloc", (len(story),), bind="m"), Write("m", story), Call("load_model", ("m", len(story))))
    case = Case("family/raw", (*raw, Generate(b"a", 2), NEXT_TOKEN))
    result = judge(case, changed_build(Profile(continuation_result="all generated text")))
    assert result.verdict is Verdict.MISMATCH, result.crash
    assert result.flip is None


# Explanations ------------------------------------------------------------------------------------------------------


class Gap:
    """An explanation that names a declared rule."""

    lines = (("first", "the planted reason"),)
    gap = "SC-3 = no"

    def document(self) -> dict[str, Any]:
        return {"planted": True}


def test_explanation_of_a_declared_rule_is_a_contract_gap() -> None:
    """The explainer sees the run and may turn a mismatch into a contract gap; matches are not explained."""
    seen: list[PairRun] = []

    def explain(run: PairRun) -> Gap:
        seen.append(run)
        return Gap()

    suite = Suite(changed_build(Profile(reset_result="unchanged")), Oracle(), explain)
    resetting = [Case(f"family/{n}", (Load("story"), RESET), STORY) for n in range(MOST_EXPLAINED + 2)]
    result = suite.run([SHORT, *resetting])
    assert result.cases[0].verdict is Verdict.MATCH
    assert [item.verdict for item in result.cases[1:]] == [Verdict.CONTRACT_GAP] * MOST_EXPLAINED + [
        Verdict.MISMATCH
    ] * 2
    assert result.cases[1].reason == "SC-3 = no"
    assert len(seen) == MOST_EXPLAINED
    assert seen[0].comparison.differences
    assert result.exit_code == 1
