"""Section 7 of the contract, sentence by sentence, and the runtime-owned generator (PR-4)."""

from __future__ import annotations

from typing import Any

import pytest

from refruntime import Profile
from tests.contract.host import Host
from tests.contract.models import EOS, follow, long_token_model, story_model, table_model
from tests.second_opinion.sampler_reference import outputs, unit

EITHER = table_model({}, otherwise={ord("0"): 0.0, ord("1"): 0.0}, capacity=64)
"""Every token is followed by `0` or `1` with equal logits."""


def coins(seed: int, count: int, skip: int = 0) -> list[bytes]:
    """Return what fair draws between `0` and `1` give: a coin below one half takes the lower id."""
    return [b"0" if unit(output) < 0.5 else b"1" for output in outputs(seed, skip + count)[skip:]]


def continued(host: Host, count: int) -> list[bytes]:
    """Return the results of `count` continuations."""
    texts = []
    for _ in range(count):
        assert host.abi.generate_next_token() == 0
        texts.append(host.result)
    return texts


def counts(host: Host) -> tuple[int, int, int]:
    document = host.diagnostics
    return document["kv_length"], document["prompt_tokens"], document["generated_tokens"]


def test_without_a_model() -> None:
    """NT-1: without a model 12, also after free_model."""
    host = Host()
    assert host.abi.generate_next_token() == 12
    assert host.load(story_model()) == 0
    assert host.generate(b"a", 1) == 0
    assert host.abi.free_model() == 0
    assert host.abi.generate_next_token() == 12


@pytest.mark.parametrize("way", ["load", "reset", "failed generate", "load again", "failed continuation"])
def test_without_a_context(way: str) -> None:
    """NT-2, NT-7, ST-3, ST-5, ST-7: with a model but no context 13, however that came about."""
    host = Host(model=story_model())
    if way != "load":
        assert host.generate(b"a", 1) == 0
    if way == "reset":
        assert host.abi.reset_context() == 0
    elif way == "failed generate":
        assert host.generate(b"x", 1) == 3
    elif way == "load again":
        assert host.load(story_model()) == 0
    elif way == "failed continuation":
        host = Host(model=table_model(follow(ord("a"), ord("b"), 0xFF)))
        assert host.generate(b"a", 1) == 0
        assert host.abi.generate_next_token() == 3
    assert host.abi.generate_next_token() == 13
    assert host.result == b"generation failed"


@pytest.mark.parametrize(("option", "status"), [("13", 13), ("2", 2), ("11", 11)])
def test_without_a_context_by_profile(option: Any, status: int) -> None:
    """NT-2: the profile chooses the status."""
    host = Host(Profile(continuation_without_context=option), model=story_model())
    assert host.abi.generate_next_token() == status


def test_full_context_keeps_everything() -> None:
    """NT-3, CL-state: 11 as often as asked; tokens, KV length and the last sampling step stay."""
    host = Host(model=story_model())
    assert host.generate(b"eeee", 2) == 0
    assert continued(host, 1) == [b"e"]
    assert counts(host) == (8, 5, 3)
    before = host.diagnostics
    for _ in range(3):
        assert host.abi.generate_next_token() == 11
        assert host.diagnostics == before | {"last_error": "context exceeded"}
    assert host.generate(b"a", 1) == 0


def test_last_position_can_be_filled() -> None:
    """NT-3, NT-6, GEN-6: capacity 8: a prompt of 7 tokens leaves exactly one continuation."""
    host = Host(model=story_model())
    assert host.generate(b"eeeee", 1) == 0
    assert counts(host) == (7, 6, 1)
    assert host.abi.generate_next_token() == 0
    assert counts(host) == (8, 6, 2)
    assert host.abi.generate_next_token() == 11


def test_greedy_continuation_goes_on_where_generate_stopped() -> None:
    """NT-4, NT-6, DG-8: token by token, the result is the text of this one token, and all of them are counted."""
    host = Host(model=story_model())
    assert host.generate(b"a", 1) == 0
    assert continued(host, 2) == [b"c", b"d"]
    assert counts(host) == (5, 2, 3)
    assert host.diagnostics["tokenizer_output"] == "256,97"


def test_all_generated_text_by_profile() -> None:
    """NT-6: with the other option the result is everything generated since the last generate."""
    host = Host(Profile(continuation_result="all generated text"), model=story_model())
    assert host.generate(b"a", 1) == 0
    assert continued(host, 3) == [b"bc", b"bcd", b""]  # the third is EOS (NT-5)


def test_eos_changes_nothing_but_the_report() -> None:
    """NT-5, CL-state: EOS gives 0 and an empty result; it is reported, not appended; asking again gives it again."""
    host = Host(model=story_model())
    assert host.generate(b"a", 3) == 0
    assert host.diagnostics["selected_token"] == ord("d")
    for _ in range(3):
        assert host.abi.generate_next_token() == 0
        assert host.result == b""
        assert host.abi.last_result_ptr() != 0
        assert counts(host) == (5, 2, 3)
        document = host.diagnostics
        assert document["selected_token"] == EOS
        assert document["top_tokens"][0] == [EOS, 1]
        assert document["logits_summary"]["max"] == 1
        assert document["last_error"] is None


def test_continuation_after_generate_ended_with_eos() -> None:
    """NT-5, GEN-5: EOS was not forwarded by generate, so the continuation samples EOS again from the same logits."""
    host = Host(model=story_model())
    assert host.generate(b"a", 100) == 0
    assert continued(host, 2) == [b"", b""]
    assert counts(host) == (5, 2, 3)


def test_eos_is_sampled_again_from_the_same_logits() -> None:
    """NT-4, NT-5, CL-state: every call draws from the runtime-owned generator, also those that end in EOS."""
    host = Host(model=table_model({}, otherwise={ord("0"): 0.0, EOS: 0.0}, capacity=64))
    assert host.generate(b"?", 1) == 0  # greedy: `0`
    assert host.abi.set_sampling_config(1.0, 2, 1.0, 77) == 0
    expected = [b"" if coin == b"1" else coin for coin in coins(77, 30)]
    assert continued(host, 30) == expected
    assert b"" in expected
    assert counts(host) == (3 + expected.count(b"0"), 2, 1 + expected.count(b"0"))


def test_runtime_owned_generator_advances_across_calls() -> None:
    """NT-4, SC-3, PR-4: a successful set_sampling_config reseeds; generate, reset, load and free leave it alone."""
    host = Host(model=EITHER)
    assert host.abi.set_sampling_config(1.0, 2, 1.0, 99) == 0
    assert host.generate(b"?", 5) == 0
    assert continued(host, 6) == coins(99, 6)
    assert host.generate(b"?", 3) == 0
    assert continued(host, 6) == coins(99, 6, skip=6)
    assert host.abi.reset_context() == 0
    assert host.generate(b"?", 1) == 0
    assert continued(host, 6) == coins(99, 6, skip=12)
    assert host.load(EITHER) == 0
    assert host.generate(b"?", 1) == 0
    assert continued(host, 6) == coins(99, 6, skip=18)
    assert host.abi.free_model() == 0
    assert host.abi.init_runtime() == 0
    assert host.load(EITHER) == 0
    assert host.generate(b"?", 1) == 0
    assert continued(host, 6) == coins(99, 6, skip=24)


def test_failed_calls_leave_the_generator_alone() -> None:
    """PR-4, SC-2, ST-8, NT-3: calls that fail before sampling draw nothing and reseed nothing."""
    host = Host(model=EITHER)
    assert host.abi.set_sampling_config(1.0, 2, 1.0, 5) == 0
    assert host.generate(b"?", 1) == 0
    assert continued(host, 4) == coins(5, 4)
    assert host.abi.set_sampling_config(1.0, 2, 2.0, 6) == 2
    assert host.generate(b"?", 0) == 2
    assert host.generate(b"\xff", 1) == 3
    assert host.abi.load_model(0, 1) == 1
    assert continued(host, 4) == coins(5, 4, skip=4)
    assert host.abi.reset_context() == 0
    assert host.abi.generate_next_token() == 13
    assert host.generate(b"?" * 70, 1) == 11
    assert host.generate(b"?", 60) == 0
    assert continued(host, 2) == coins(5, 2, skip=8)
    assert host.abi.generate_next_token() == 11
    assert host.generate(b"?", 1) == 0
    assert continued(host, 2) == coins(5, 2, skip=10)


def test_first_seed_of_the_runtime_owned_generator() -> None:
    """PR-4, SC-1: the generator starts with seed 1; SC-3 reseeds with the seed of the call, 0 being replaced (PR-2)."""
    expected = {1: coins(1, 20), 0: coins(0x9E3779B97F4A7C15, 20)}
    keeps = Host(Profile(sampling_config_reseeds="no"), model=EITHER)
    assert keeps.abi.set_sampling_config(1.0, 2, 1.0, 4) == 0
    assert keeps.generate(b"?", 1) == 0
    assert continued(keeps, 20) == expected[1]
    reseeded = Host(model=EITHER)
    assert reseeded.abi.set_sampling_config(1.0, 2, 1.0, 0) == 0
    assert reseeded.generate(b"?", 1) == 0
    assert continued(reseeded, 20) == expected[0]


def test_greedy_calls_do_not_advance_the_generator() -> None:
    """SA-1, SA-4, NT-4: at temperature 0 nothing is drawn."""
    host = Host(Profile(sampling_config_reseeds="no"), model=EITHER)
    assert host.generate(b"?", 1) == 0
    assert continued(host, 7) == [b"0"] * 7
    assert host.abi.set_sampling_config(1.0, 2, 1.0, 1) == 0
    assert continued(host, 8) == coins(1, 8)


def test_token_that_is_not_text() -> None:
    """NT-7, GEN-9, ST-7: a single byte of a longer character fails, and the context is gone."""
    host = Host(model=table_model(follow(ord("a"), ord("b"), *"é".encode(), EOS)))
    assert host.generate(b"a", 1) == 0
    assert host.abi.generate_next_token() == 3
    assert host.result == b"invalid utf-8"
    document = host.diagnostics
    assert counts(host) == (0, 0, 0)
    assert (document["model_loaded"], document["selected_token"], document["top_tokens"]) == (True, None, [])
    assert host.generate(b"a", 3) == 0
    assert host.result.decode() == "bé"


def test_all_text_makes_half_a_character_fail_too() -> None:
    """NT-6, NT-7, GEN-9: with all generated text as the result, the half character fails as well."""
    host = Host(
        Profile(continuation_result="all generated text"),
        model=table_model(follow(ord("a"), ord("b"), *"é".encode(), EOS)),
    )
    assert host.generate(b"a", 1) == 0
    assert host.abi.generate_next_token() == 3


@pytest.mark.parametrize(("option", "status"), [("3", 3), ("13", 13), ("lossy", 0)])
def test_token_that_is_not_text_by_profile(option: Any, status: int) -> None:
    """NT-7, GEN-9: the option for generated bytes holds for continuations too."""
    host = Host(Profile(invalid_output_utf8=option), model=table_model(follow(ord("a"), ord("b"), 0xFF)))
    assert host.generate(b"a", 1) == 0
    assert host.abi.generate_next_token() == status
    assert host.result.decode() == {3: "invalid utf-8", 13: "generation failed", 0: "\ufffd"}[status]


def test_token_that_is_too_long() -> None:
    """GEN-10, CL-statuses: the limit of the result holds for a single token; the context is gone."""
    host = Host(model=long_token_model(b"y" * 65536))
    assert host.generate(b"a", 1) == 0
    assert host.abi.generate_next_token() == 0
    assert len(host.result) == 65536
    host = Host(Profile(continuation_result="all generated text"), model=long_token_model(b"y" * 65536))
    assert host.generate(b"a", 1) == 0
    assert host.abi.generate_next_token() == 14
    assert host.result == b"output buffer exceeded"
    assert counts(host) == (0, 0, 0)


def test_failed_generation_before_its_transaction_keeps_the_context() -> None:
    """ST-8: 1, 2, 3 and count 0 leave tokens, KV and logits; the continuation goes on from there."""
    host = Host(model=story_model())
    assert host.generate(b"a", 1) == 0
    assert host.abi.generate(0, 1, 1) == 1
    assert host.abi.generate(host.put(b"q"), 0, 1) == 2
    assert host.generate(b"\xc0\x80", 1) == 3
    assert host.generate(b"q", 0) == 2
    assert counts(host) == (3, 2, 1)
    assert continued(host, 2) == [b"c", b"d"]
