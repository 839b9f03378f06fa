"""The witness names the first wrong number of real builds: the guest, clean and with seeded bugs."""

from __future__ import annotations

from pathlib import Path

import pytest

from refruntime.battery.sampler import sampler_cases
from refruntime.cases.steps import Configure, Generate
from refruntime.contract.profile import Profile
from refruntime.witness.build import Witness
from refruntime.witness.oracle import Sampling
from refruntime.witness.report import document
from tests.support.command_line import command

ROOT = Path(__file__).resolve().parent.parent.parent.parent
GUEST = ROOT / "tests" / "guest"
MODELS = ROOT / "golden" / "models"
PROMPT = b"Once"

MUTANTS = {
    "attention_scale_hidden": ("small.q8_0.slm1", "blk.0.attn.scores", "constant factor"),
    "dot_four_partial_sums": ("small.f32.slm1", "blk.0.attn_q", "rounding"),
    "kv_in_half_precision": ("small.q8_0.slm1", "blk.0.cache_k", "rounded to f16"),
    "norm_without_epsilon": ("small.q8_0.slm1", "blk.0.attn_norm", "constant factor"),
    "rope_split_halves": ("small.q8_0.slm1", "blk.0.attn_q.rope", "other"),
    "q4_high_nibble_first": ("small.q4_0.slm1", "token_embd", "permutation"),
}


def witness(build: str, model: str) -> Witness:
    return Witness((GUEST / build).read_bytes(), (MODELS / model).read_bytes(), PROMPT)


@pytest.mark.parametrize("bug", MUTANTS)
def test_names_the_first_wrong_tensor_of_a_mutant(bug: str) -> None:
    """FW-2, FW-3, FW-4, FW-5, FW-6, FW-9, SL-2: the tensor and the pattern follow from what the bug changes."""
    model, tensor, pattern = MUTANTS[bug]
    seen = witness(f"mutants/guest-bug-{bug}.wasm", model).earliest()
    assert seen.look.verdict == "wrong"
    assert seen.look.first is not None
    assert (seen.look.first.name, seen.look.first.pattern.kind) == (tensor, pattern), seen.look.first.pattern.text


@pytest.mark.parametrize(
    "model",
    ["small.q8_0.gguf", *(pytest.param(f"small.{kind}.slm1", marks=pytest.mark.slow) for kind in ("f32", "q4_0"))],
)
def test_a_clean_build_raises_no_alarm(model: str) -> None:
    """FW-2, FW-9: every tensor of a position is in the memory of a right build, and its caches are equal."""
    looked = witness("guest.wasm", model)
    assert looked.first_position() is None
    seen = looked.at(2)
    assert seen.look.verdict == "clean"
    unseen = {sighting.name: sighting.reason for sighting in seen.look.sightings if sighting.state != "equal"}
    assert all("attn.scores" in name and "overwritten at once" in reason for name, reason in unseen.items())
    for part in (looked.keys, looked.values):
        assert part is not None
        assert part.equal.all()


@pytest.mark.slow
def test_the_same_look_sees_the_same() -> None:
    """FW-2: nothing depends on time or chance."""
    first, second = (witness("mutants/guest-bug-attention_scale_hidden.wasm", "small.q8_0.slm1") for _ in range(2))
    assert document(first, first.earliest()) == document(second, second.earliest())


def test_command_reports_as_json_and_as_text() -> None:
    """FW-6: exit code 1 with the first wrong tensor; the map frames it."""
    build = str(GUEST / "mutants" / "guest-bug-attention_scale_hidden.wasm")
    arguments = ["witness", build, "--model", str(MODELS / "small.q8_0.slm1"), "--prompt", "Once"]
    shown = command(*arguments, "--json", "-")
    assert shown.code == 1
    report = shown.json
    assert report["verdict"] == "wrong"
    first = report["first"]
    assert (first["tensor"], first["position"], first["pattern"]) == ("blk.0.attn.scores", 1, "constant factor")
    assert first["text"].startswith("all 2 of head 0 and the others times 0.")
    assert [event["state"] for event in report["events"] if event["tensor"] == first["tensor"]] == ["wrong"]
    shown = command(*arguments)
    assert shown.code == 1
    assert "[x]" in shown.stdout
    assert "WRONG blk.0.attn.scores at position 1" in shown.stdout


def test_command_is_fine_with_a_clean_build() -> None:
    """FW-2: exit code 0 where no number is wrong."""
    shown = command(
        "witness",
        str(GUEST / "guest.wasm"),
        "--model",
        str(MODELS / "small.q8_0.slm1"),
        "--prompt",
        "Once",
        "--position",
        "2",
    )
    assert shown.code == 0, shown.stdout
    assert "CLEAN" in shown.stdout


def test_a_build_in_another_order_is_clean_under_it() -> None:
    """FW-4: four lanes are rounding to seq32, and equal bit by bit under the variation; the report says so."""
    build, model = str(GUEST / "mutants" / "guest-bug-dot_four_partial_sums.wasm"), str(MODELS / "small.f32.slm1")
    lanes = "4 lanes, tail in lanes, neighbours"
    arguments = ["witness", build, "--model", model, "--prompt", "Once", "--position", "1"]
    shown = command(*arguments, "--numerics-variation", f"matrices: {lanes}; scores: {lanes}")
    assert shown.code == 0, shown.stdout
    assert "which is not the contract's (ID-4)" in shown.stdout
    assert command(*arguments, "--numerics-variation", f"matrices: {lanes}").code == 1


def test_logits_that_never_change_are_no_fault() -> None:
    """SA-2: a table model has the same logits everywhere, so that nothing is written; only the choice is wrong."""
    case = next(case for case in sampler_cases(Profile()) if case.name == "sampler/slope-top-k-1")
    configured = next(step for step in case.steps if isinstance(step, Configure))
    generated = next(step for step in case.steps if isinstance(step, Generate))
    sampling = Sampling(configured.temperature, configured.top_k, configured.top_p, configured.seed)
    for build, verdict in (("guest.wasm", "not seen"), ("mutants/guest-bug-top_k_off_by_one.wasm", "wrong")):
        module = (GUEST / build).read_bytes()
        looked = Witness(module, case.models["model"], generated.prompt, generated.max_new_tokens, sampling)
        seen = looked.earliest()
        assert seen.look.verdict == verdict
        assert (seen.look.first is None) == (verdict != "wrong")
        if seen.look.first is not None:
            right, other = looked.oracle.result, looked.result
            assert other is not None
            count = next(at for at, (a, b) in enumerate(zip(right, other, strict=False)) if a != b)
            assert seen.look.first.name == "sampler.choice"
            assert seen.position == looked.oracle.prompt_length + count - 1  # a token of this model is a byte
