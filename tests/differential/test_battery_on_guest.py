"""The whole battery on an independent build: nothing differs, everything is compared, and seeded bugs show."""

from __future__ import annotations

from functools import cache

import pytest

from refruntime import Profile, Status
from refruntime.battery.catalogue import FAMILIES, default_battery, select
from refruntime.battery.features import feature_finder
from refruntime.cases.observation import StatusAnswer, result_of
from refruntime.cases.steps import Call, Case, Configure, Generate, Load
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.differential.run import Oracle, observe
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import Verdict
from tests.support.builds import GUEST, MUTANTS, wasm_build

FIRST_FIELDS = {
    "attention_scale_hidden": ("generate/slm1-f32-greedy", {"top_tokens", "selected_token"}),
    "bpe_rightmost_first": ("tokenizer/bpe1-same-letter", {"tokenizer_output", "prompt_tokens", "kv_length"}),
    "capacity_off_by_one": ("state/full-next-token", {"generated_tokens", "kv_length", "result"}),
    "dot_four_partial_sums": ("generate/slm1-f32-probe", {"top_tokens"}),
    "draw_from_32_bits": ("sampler/draw-rounded-over-an-edge-c29be836074a7b0e", {"selected_token"}),
    "kv_in_half_precision": ("generate/slm1-f32-probe", {"top_tokens"}),
    "norm_without_epsilon": ("generate/slm1-f32-probe", {"top_tokens"}),
    "q4_high_nibble_first": ("generate/slm1-q4_0-greedy", {"top_tokens", "selected_token", "status"}),
    "reset_keeps_kv": ("state/continuing-reset", {"kv_length"}),
    "rope_split_halves": ("generate/slm1-f32-probe", {"top_tokens", "selected_token"}),
    "top_k_off_by_one": ("sampler/ties-top-k-3", {"selected_token", "result"}),
    "top_tokens_of_previous_step": ("generate/slm1-f32-greedy", {"top_tokens"}),
}
"""Seeded bug -> a case that shows it, and what differs there first, told from the description of the bug."""


@cache
def battery() -> tuple[Case, ...]:
    return default_battery(Profile())


@pytest.mark.parametrize(
    "family",  # `fill --check` holds guest and oracle against the answers of the goldens
    [pytest.param(each, marks=[pytest.mark.slow] * (each == "golden")) for each in FAMILIES],
)
def test_clean_build_matches(family: str) -> None:
    """GEN-4, ST-3, SL-1, GG-3, SA-6, DG-3: an independent build answers every case as the oracle does."""
    cases = default_battery(Profile(), patterns=[family])
    build = wasm_build(GUEST)
    result = Suite(build, Oracle(), features=feature_finder(build, Profile())).run(cases)
    bad = [f"{item.case.name}: {item.verdict} {item.reason}{item.crash}" for item in result.cases]
    fine = {Verdict.MATCH, Verdict.BOTH_FAILED, Verdict.UNSUPPORTED}
    assert not [text for text, item in zip(bad, result.cases, strict=True) if item.verdict not in fine]
    assert result.exit_code == 0
    assert not result.lost
    total = result.total
    assert total.cases == len(cases) > 10
    judged = total.cases - total.verdicts[Verdict.UNSUPPORTED]
    assert total.steps > (2 if family == "golden" else 3) * judged  # a golden has one point
    assert total.fields > 10 * total.steps
    assert total.tokens > total.cases // 3
    unsupported = {item.case.name for item in result.cases if item.verdict is Verdict.UNSUPPORTED}
    assert not any("slm1" in name or "f32" in name or "q8_0" in name for name in unsupported)


def test_a_generation_clears_the_result_first() -> None:
    """GEN-2, ERR-4: where failures leave the result alone, one behind the beginning of a generation leaves none."""
    profile = Profile(failed_call_result="unchanged", reset_result="unchanged")
    (case,) = default_battery(profile, patterns=["state/generation-clears-the-result"])
    seen = observe(case, Oracle(profile).engine(), profile)
    failed = [(item.code, item.result) for item in seen if isinstance(item, StatusAnswer) and item.code]
    text = result_of(seen[1])
    assert text
    assert failed == [
        (Status.InvalidLength, text),
        (Status.InvalidLength, text),
        (Status.ContextExceeded, b""),
        (Status.InvalidUtf8, b""),
    ]


def test_families_are_all() -> None:
    """Every case belongs to a family that is run above, and cites rules."""
    assert {case.name.partition("/")[0] for case in battery()} == set(FAMILIES)
    assert all(case.rules for case in battery())


@pytest.mark.slow  # a battery that reached less would be another battery
def test_battery_reaches_every_export_and_status() -> None:
    """ABI-1, ERR-3: the oracle answers the battery's cases with every status code, through every export."""
    oracle, called, seen = Oracle(), {"alloc", "dealloc", "last_result_ptr", "get_diagnostics_ptr"}, set()
    for case in select(
        battery(),
        [
            "status/*",
            "state/uninitialized-*",
            "state/failed-*",
            "state/ready-*",
            "slm1/header-*",
            "slm1/entry-q8*",
            "slm1/without-*",
            "output/long-*",
        ],
    ):
        names = {Load: "load_model", Configure: "set_sampling_config", Generate: "generate"}
        called |= {step.export if isinstance(step, Call) else names.get(type(step), "") for step in case.steps}
        seen |= {item.code for item in observe(case, oracle.engine(), oracle.profile) if isinstance(item, StatusAnswer)}
    called |= {"last_result_len", "get_diagnostics_len"}  # read after every status
    assert called - {""} == set(EXPORTS_BY_NAME)
    assert seen == {int(status) for status in Status}


@pytest.mark.parametrize(
    "pattern", ["state", "status/trap-*", "*/two-bytes", "GEN-10", "generate/slm1-f32-probe", "g*/*-4"]
)
def test_patterns_select_the_same_from_all_and_alone(pattern: str) -> None:
    """Making only the families that a pattern may fit loses no case."""
    alone = [case.name for case in default_battery(Profile(), patterns=[pattern])]
    assert alone == [case.name for case in select(battery(), [pattern])]
    assert alone


def test_battery_is_the_same_every_time() -> None:
    """The models come from an integer generator, so that the bytes are the same in every run."""
    again = default_battery(Profile())
    # Steps are compared as text, because a step may hold NaN, which equals nothing.
    assert [(case.name, repr(case.steps), dict(case.models)) for case in again] == [
        (case.name, repr(case.steps), dict(case.models)) for case in battery()
    ]


@pytest.mark.parametrize(
    "bug",  # a golden fails on each of them too, in `test_golden_corpus`
    [pytest.param(bug, marks=[pytest.mark.slow] * (number % 2)) for number, bug in enumerate(MUTANTS)],
)
def test_seeded_bug_is_caught(bug: str) -> None:
    """SA-6, FW-5, ST-5, GEN-6: a build with one deliberate mistake differs, in the field that the mistake is about."""
    name, fields = FIRST_FIELDS[bug]
    (case,) = default_battery(Profile(), patterns=[name])
    result = Suite(wasm_build(MUTANTS[bug]), Oracle()).run([case])
    (judged,) = result.cases
    assert judged.verdict in (Verdict.MISMATCH, Verdict.ONLY_WASM_FAILED, Verdict.ONLY_REF_FAILED), judged.crash
    assert judged.comparison.first is not None
    assert judged.comparison.first.field in fields
    assert result.exit_code == 1


def test_every_mutant_has_an_expectation() -> None:
    """The mutants beside the guest and the table above are the same set, and there are some."""
    assert set(MUTANTS) == set(FIRST_FIELDS)
