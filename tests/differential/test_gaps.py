"""Contract gaps: the options under which a build agrees, found one by one, and the profile that closes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from refruntime.battery.catalogue import default_battery, select
from refruntime.battery.generate import generation_cases
from refruntime.battery.models.slm1 import Shape, random_model
from refruntime.battery.sampler import sampler_cases
from refruntime.battery.state import generator_cases, state_cases
from refruntime.cases.steps import Case
from refruntime.containers.checksum import slm1_checksum
from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile
from refruntime.differential.run import Oracle
from refruntime.hypotheses.checksums import SMALLEST, accepted_checksums
from refruntime.hypotheses.gaps import find_gaps, write_profile
from refruntime.numerics import Seq32
from refruntime.numerics.base import Array
from tests.differential.builds import GUEST, changed_build, wasm_build

PROFILE = Profile()


def small_battery(profile: Profile) -> Sequence[Case]:
    """Return a few cases of every kind that the options below need."""
    model = random_model(5, Shape(hidden=16, heads=2, ffn=16, capacity=32), DType.Q4_0, block_size=8, profile=profile)
    states = [*state_cases(profile)]
    return (
        *generator_cases(profile),
        *states[:: max(1, len(states) // 40)],
        *generation_cases({"small": model}, vocab=260),
    )


def draws_over_an_edge(profile: Profile) -> Sequence[Case]:
    """Return the cases of the battery in which a draw of 24 bits and one of more bits fall to different candidates."""
    return select(sampler_cases(profile), ["*/draw-rounded-*"])


def test_an_agreeing_build_has_no_gap() -> None:
    """A build that agrees is left alone: no gap, the same profile."""
    report = find_gaps(wasm_build(GUEST), small_battery, Oracle(PROFILE))
    assert report.clean
    assert report.gaps == ()
    assert report.profile == PROFILE


SINGLE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ERR-4", {"failed_call_result": "empty"}),
    ("ST-5", {"reset_result": "unchanged"}),
    ("SC-3", {"sampling_config_reseeds": "no"}),
    ("NT-6", {"continuation_result": "all generated text"}),
    ("PR-1", {"xorshift": "7,9,8"}),
    ("PR-4.reset", {"generator_on_reset": "reseeded"}),
    ("FW-4", {"quantized_product": "sum times scale"}),
    ("SL-5.rotation", {"checksum_rotation": 13}),
    ("SL-5.start", {"checksum_start": 0}),
    ("SL-5.order", {"checksum_order": "mix, multiply, rotate"}),
    ("SL-5.verify", {"checksum": "not verified"}),
)


QUICK = ("ST-5", "SL-5.order")
"""Options that the fast tests look for: one of a state, one of a formula; IN_FILES has those of numbers."""


@pytest.mark.parametrize(
    ("key", "changes"),
    [pytest.param(*each, id=each[0], marks=[] if each[0] in QUICK else [pytest.mark.slow]) for each in SINGLE],
)
def test_one_deviating_rule_is_found(key: str, changes: dict[str, Any]) -> None:
    """Every option is found by its key and value; under the written profile the build agrees."""
    theirs = replace(PROFILE, **changes)
    report = find_gaps(changed_build(theirs), small_battery, Oracle(PROFILE))
    assert report.clean
    (gap,) = report.gaps
    assert (gap.key, gap.value) == (key, next(iter(changes.values())))
    assert Profile.from_toml(write_profile(report)) == theirs
    assert f"CONTRACT_GAP({key})" in report.lines[0]


IN_FILES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("SA-3.order", {"temperature_order": "temperature first"}, "sampler/temperature-makes-a-tie-*"),
    ("SA-4", {"weights": "normalised"}, "sampler/top-p-[or]*"),
    ("SA-5.comparison", {"top_p_comparison": ">"}, "sampler/top-p-reached-*"),
    ("SL-1.heads", {"uneven_heads": "9"}, "slm1/header-head-count-*"),
    ("SL-1.kv-heads", {"unequal_kv_heads": "6"}, "slm1/header-kv-head-count-*"),
    ("SL-1.constants", {"header_constants": "not checked"}, "slm1/header-r*-*"),
    ("SL-1.data-offset", {"data_offset_past_end": "not checked"}, "slm1/header-tensor-data-offset-*"),
    ("SL-6", {"scales_past_end": "7"}, "slm1/entry-q8_0-scale-offset-*"),
    ("CL-statuses", {"oversized_buffer": "2"}, "slm1/header-max-context-*"),
    ("CL-statuses", {"oversized_buffer": "9"}, "slm1/header-max-context-*"),
    ("CL-statuses", {"oversized_buffer": "13"}, "slm1/header-max-context-*"),
    ("GG-6", {"gguf_stop_tokens": "metadata ids only"}, "gguf/ends-*"),
)


@pytest.mark.parametrize(
    ("key", "changes", "pattern"),
    [
        pytest.param(*each, id=f"{each[0]}-{at}", marks=[pytest.mark.slow] if each[0] == "GG-6" else [])
        for at, each in enumerate(IN_FILES)
    ],
)
def test_options_on_files_and_ties_are_found(key: str, changes: dict[str, Any], pattern: str) -> None:
    """SA-3, SA-4, SA-5, SL-1, SL-6, CL-statuses, GG-6: the battery's cases on a rule name the option of a build."""

    def cases(profile: Profile) -> Sequence[Case]:
        return default_battery(profile, patterns=[pattern])

    theirs = replace(PROFILE, **changes)
    report = find_gaps(changed_build(theirs), cases, Oracle(PROFILE))
    assert report.clean
    assert [(gap.key, gap.value, gap.alternatives) for gap in report.gaps] == [(key, next(iter(changes.values())), ())]
    assert Profile.from_toml(write_profile(report)) == theirs


SEVERAL: dict[str, tuple[str, Any]] = {
    "SL-5.rotation": ("checksum_rotation", 7),
    "NT-6": ("continuation_result", "all generated text"),
    "ERR-4": ("failed_call_result", "unchanged"),
    "SC-3": ("sampling_config_reseeds", "no"),
}


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_deviating_rules_are_found_together(count: int) -> None:
    """A build may differ in several declared rules, so that no single option explains a whole case."""
    keys = list(SEVERAL)[:count]
    changes: dict[str, Any] = dict(SEVERAL[key] for key in keys)
    report = find_gaps(changed_build(replace(PROFILE, **changes)), small_battery, Oracle(PROFILE))
    assert report.clean
    assert {gap.key for gap in report.gaps} == set(keys)
    assert report.profile == replace(PROFILE, **changes)


class _Louder(Seq32):
    """Arithmetic that no option describes."""

    def rms_norm(self, x: Array, weight: Array, epsilon: float) -> Array:
        normal: Array = super().rms_norm(x, weight, epsilon) * x.dtype.type(1.0625)
        return normal


def test_a_fault_remains_beside_a_gap() -> None:
    """A gap does not hide a fault: what no option explains is reported as remaining."""

    def cases(profile: Profile) -> Sequence[Case]:
        resets = select(state_cases(profile), ["*-reset"])
        return (*resets, *(case for case in small_battery(profile) if case.name.startswith("generate/")))

    theirs = replace(PROFILE, reset_result="unchanged")
    report = find_gaps(changed_build(theirs, numerics=_Louder()), cases, Oracle(PROFILE))
    assert not report.clean
    assert [gap.key for gap in report.gaps] == ["ST-5"]
    assert any(run.case.name.startswith("generate/") for run in report.remaining)
    assert "differ under every option" in report.lines[-1]


def test_indistinguishable_options_are_said_to_be() -> None:
    """PR-3: 53 bits and 64 bits give the same float32 but for a rare rounding, and the report says so."""
    theirs = replace(PROFILE, unit_conversion="53 high bits")
    report = find_gaps(changed_build(theirs), draws_over_an_edge, Oracle(PROFILE))
    assert report.clean
    (gap,) = report.gaps
    assert {(gap.key, gap.value), *gap.alternatives} == {("PR-3", "53 high bits"), ("PR-3", "output / 2^64")}
    assert "no observation tells it from" in gap.text


@pytest.mark.slow
def test_options_that_only_some_cases_tell_apart_are_told_apart() -> None:
    """PR-4: where reset and generate often follow each other, the whole battery decides which of them reseeds."""
    theirs = replace(PROFILE, generator_on_reset="reseeded")
    report = find_gaps(changed_build(theirs), small_battery, Oracle(PROFILE))
    (gap,) = report.gaps
    assert (gap.key, gap.alternatives) == ("PR-4.reset", ())


# SL-5 ----------------------------------------------------------------------------------------------------------------


def test_the_formula_of_a_build_is_found_by_loading() -> None:
    """SL-5: of the family of formulas exactly that of the build is accepted."""
    theirs = replace(PROFILE, checksum_rotation=29, checksum_start=1, checksum_order="rotate, mix, multiply")
    assert accepted_checksums(changed_build(theirs), PROFILE) == (theirs,)


def test_the_formula_of_the_guest_is_the_published_one() -> None:
    """SL-5: the guest verifies the checksum, and by the published formula."""
    assert accepted_checksums(wasm_build(GUEST), PROFILE) == (PROFILE,)


def test_an_unknown_formula_is_not_guessed() -> None:
    """SL-5: outside of the family nothing is found."""
    theirs = replace(PROFILE, checksum_start=123456789)
    data = random_model(1, SMALLEST, profile=PROFILE)
    assert slm1_checksum(data, theirs) != slm1_checksum(data, PROFILE)
    assert accepted_checksums(changed_build(theirs), PROFILE) == ()
