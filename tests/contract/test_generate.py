"""Section 6 of the contract, sentence by sentence, through the exports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from refruntime import Profile, Trap
from refruntime.errors import InvalidLength
from tests.contract.host import Host
from tests.contract.models import BOS, END, EOS, PAD, UNK, follow, long_token_model, story_model, table_model
from tests.second_opinion.sampler_reference import outputs, unit
from tests.support.slm1_by_hand import bpe1
from tests.support.synthetic import SMALL, random_weights, slm1_file


def at_the_end(host: Host) -> tuple[int, int]:
    """Return a slice of two bytes of which only one lies inside memory."""
    return len(host.abi.memory) - 1, 2


ORDER: dict[str, tuple[int, bool, Callable[[Host], int]]] = {
    "pointer before length": (1, True, lambda host: host.abi.generate(0, 0, 1)),
    "pointer before model": (1, False, lambda host: host.abi.generate(0, 1, 1)),
    "length before model": (2, False, lambda host: host.abi.generate(host.put(b"a"), 0, 1)),
    "length before the end of memory": (2, True, lambda host: host.abi.generate(at_the_end(host)[0], 2**31, 1)),
    "UTF-8 before model": (3, False, lambda host: host.generate(b"\x80", 1)),
    "UTF-8 before count": (3, True, lambda host: host.generate(b"\x80", 0)),
    "model before count": (12, False, lambda host: host.generate(b"a", 0)),
    "count before prompt length": (2, True, lambda host: host.generate(b"a" * 100, 0)),
    "prompt length before forwarding": (11, True, lambda host: host.generate(b"x" * 100, 1)),
}


@pytest.mark.parametrize("name", ORDER)
def test_order_of_checks(name: str) -> None:
    """GEN-1, MEM-2: of two faults the earlier check decides."""
    expected, loaded, scenario = ORDER[name]
    host = Host(model=story_model() if loaded else b"")
    assert scenario(host) == expected


@pytest.mark.parametrize("loaded", [False, True])
def test_end_of_memory_comes_before_utf8_model_and_count(loaded: bool) -> None:
    """GEN-1, MEM-6, CL-statuses: a slice past the end of memory traps before anything else is looked at."""
    host = Host(model=story_model() if loaded else b"", strict=False)
    pointer, length = at_the_end(host)
    host.abi.write(pointer, b"\x80")
    with pytest.raises(Trap):
        host.abi.generate(pointer, length, 0)


def test_transaction_replaces_the_context() -> None:
    """GEN-2: prompt tokens, generated tokens and KV length of an earlier generation are gone."""
    host = Host(model=story_model())
    assert host.generate(b"eeeee", 2) == 0
    assert host.diagnostics["kv_length"] == 8
    assert host.generate(b"a", 1) == 0
    document = host.diagnostics
    assert (document["kv_length"], document["prompt_tokens"], document["generated_tokens"]) == (3, 2, 1)
    assert document["tokenizer_output"] == "256,97"


def test_terminal_eos_is_removed_and_bos_kept() -> None:
    """GEN-2, SL-8, DG-6: the encoded prompt loses its EOS and keeps its BOS."""
    host = Host(model=story_model())
    assert host.generate("é".encode(), 1) == 0
    assert host.diagnostics["tokenizer_output"] == f"{BOS},195,169"


def test_published_prompt_ids() -> None:
    """GEN-2, SL-10, DG-6: `the` with merges th and the gives the published 256,261."""
    section = bpe1([(260, b"th"), (261, b"the")], [(116, 104, 260, 0), (260, 101, 261, 1)], vocab_size=262)
    host = Host(model=table_model({}, vocab_size=262, tokenizer=section))
    assert host.generate(b"the", 1) == 0
    assert host.diagnostics["tokenizer_output"] == "256,261"


def test_only_one_terminal_eos_is_removed() -> None:
    """GEN-2, CL-bpe1: a prompt whose own last token is EOS keeps that one."""
    section = bpe1([(257, b"ab")], [(97, 98, 257, 0)], vocab_size=260)
    host = Host(model=table_model({}, tokenizer=section))
    assert host.generate(b"ab", 1) == 0
    assert host.diagnostics["tokenizer_output"] == "256,257"


@pytest.mark.parametrize(
    ("capacity", "prompt", "status"), [(8, b"123456", 0), (8, b"1234567", 11), (2, b"1", 11), (3, b"1", 0)]
)
def test_prompt_must_leave_room(capacity: int, prompt: bytes, status: int) -> None:
    """GEN-3: with BOS, a prompt of capacity - 1 tokens is the longest."""
    host = Host(model=table_model({}, capacity=capacity))
    assert host.generate(prompt, 1) == status


def test_capacity_one_has_no_room_for_any_prompt() -> None:
    """GEN-3: BOS alone fills a context of one position."""
    host = Host(model=table_model({}, capacity=1))
    assert host.generate(b"a", 1) == 11


def test_empty_prompt() -> None:
    """GEN-3: a prompt without any token gives InvalidLength; no SLM1 tokenizer makes one, so ids are given directly."""
    host = Host(model=story_model())
    assert host.abi.runtime is not None
    with pytest.raises(InvalidLength):
        host.abi.runtime.generate_from_ids([], 1)


def test_prefill_and_decode_are_one_arithmetic() -> None:
    """GEN-4: a generated text given as a prompt leads to the same logits, bit for bit."""
    dimensions: dict[str, Any] = dict(SMALL)
    weights = random_weights(3, **dimensions)
    weights["output.weight"][128:] = 0  # only ASCII wins, so that the generated text is a valid prompt
    host = Host(model=slm1_file(weights, **dimensions))
    prompt = b"once"
    assert host.generate(prompt, 12) == 0
    text, seen = host.result, host.diagnostics
    assert len(text) == 12
    assert len(set(text)) > 3
    for split in (1, 5, 11):
        assert host.generate(prompt + text[:split], 12 - split) == 0
        assert host.result == text[split:]
        for name in ("kv_length", "top_tokens", "logits_summary", "selected_token"):
            assert host.diagnostics[name] == seen[name]


def test_eos_stops_and_is_not_appended() -> None:
    """GEN-5, SL-11, CL-state: EOS ends the loop, is not counted, not forwarded, not decoded, and is reported."""
    host = Host(model=story_model())
    assert host.generate(b"a", 100) == 0
    assert host.result == b"bcd"
    document = host.diagnostics
    assert (document["kv_length"], document["generated_tokens"], document["selected_token"]) == (5, 3, EOS)
    assert document["top_tokens"][0] == [EOS, 1]


@pytest.mark.parametrize("token", [BOS, PAD, UNK])
def test_only_eos_stops(token: int) -> None:
    """SL-11, SL-8: BOS, PAD and UNK are ordinary tokens of a generation; the first two decode to nothing."""
    model = table_model({**follow(ord("a"), token, ord("b"), EOS)})
    host = Host(model=model)
    assert host.generate(b"a", 100) == 0
    assert host.result == (b"?b" if token == UNK else b"b")
    assert host.diagnostics["generated_tokens"] == 2


def test_eos_at_once() -> None:
    """GEN-5, GEN-8, CL-state: a generation may be empty; its pointer is not 0."""
    host = Host(model=story_model())
    assert host.generate(b"zz", 5) == 0
    assert host.result == b""
    assert host.abi.last_result_ptr() != 0
    document = host.diagnostics
    assert (document["kv_length"], document["generated_tokens"], document["selected_token"]) == (3, 0, EOS)


@pytest.mark.parametrize(("count", "text"), [(1, b"b"), (2, b"bc"), (3, b"bcd"), (4, b"bcd"), (2**32 - 1, b"bcd")])
def test_max_new_tokens(count: int, text: bytes) -> None:
    """GEN-5, GEN-8: at most `max_new_tokens` tokens come, and the prompt is not echoed."""
    host = Host(model=story_model())
    assert host.generate(b"a", count) == 0
    assert host.result == text


@pytest.mark.parametrize(
    ("prompt", "count", "generated"), [(b"e", 100, 6), (b"e", 6, 6), (b"e", 5, 5), (b"eeeeee", 9, 1)]
)
def test_capacity_ends_a_generation(prompt: bytes, count: int, generated: int) -> None:
    """GEN-5, GEN-6: reaching capacity is no error; the last token was forwarded and none is sampled after it."""
    host = Host(model=story_model())
    assert host.generate(prompt, count) == 0
    assert host.result == b"e" * generated
    document = host.diagnostics
    assert document["generated_tokens"] == generated
    assert document["kv_length"] == 1 + len(prompt) + generated
    assert document["selected_token"] == ord("e")


EITHER = table_model({}, otherwise={ord("0"): 0.0, ord("1"): 0.0}, capacity=64)
"""Every token is followed by `0` or `1` with equal logits."""


def coins(seed: int, count: int) -> bytes:
    """Return what fair draws between `0` and `1` give: a coin below one half takes the lower id."""
    return b"".join(b"0" if unit(output) < 0.5 else b"1" for output in outputs(seed, count))


@pytest.mark.parametrize("seed", [1, 2, 12345, 2**64 - 1])
def test_every_call_makes_a_fresh_generator(seed: int) -> None:
    """GEN-7, PR-1, PR-3: each call draws the same coins from the configured seed, whatever came between."""
    host = Host(model=EITHER)
    assert host.abi.set_sampling_config(1.0, 2, 1.0, seed) == 0
    for between in (host.abi.generate_next_token, host.abi.reset_context, lambda: host.load(EITHER)):
        assert host.generate(b"?", 40) == 0
        assert host.result == coins(seed, 40)
        between()


def test_seed_zero_is_replaced() -> None:
    """PR-2, GEN-7, CL-state: seed 0 draws the coins of the constant, and the diagnostics still say 0."""
    host = Host(model=EITHER)
    assert host.abi.set_sampling_config(1.0, 2, 1.0, 0) == 0
    assert host.generate(b"?", 40) == 0
    assert host.result == coins(0x9E3779B97F4A7C15, 40)
    assert host.diagnostics["seed"] == "0"


EURO = table_model(follow(ord("a"), *"€".encode(), EOS))


def test_output_must_be_utf8() -> None:
    """GEN-9: three bytes of one character over three tokens are text; two of them are not."""
    host = Host(model=EURO)
    assert host.generate(b"a", 3) == 0
    assert host.result.decode() == "€"
    assert host.generate(b"a", 2) == 3
    assert host.result == b"invalid utf-8"
    assert host.diagnostics["kv_length"] == 0


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("61 F1 80 80 E1 80 C2 62 80 63 80 BF 64", "a???b?c??d"),  # the example of the Unicode standard, section 3.9
        ("ED A0 80 41", "???A"),  # a surrogate
        ("F0 80 80 41", "???A"),  # an overlong form
        ("F4 90 80 80 41", "????A"),  # beyond U+10FFFF
        ("F0 9F 98 41", "?A"),  # cut off
    ],
)
def test_lossy_output_replaces_maximal_subparts(output: str, text: str) -> None:
    """GEN-9: with option lossy each maximal subpart becomes one U+FFFD (`?` above), as Unicode recommends."""
    host = Host(Profile(invalid_output_utf8="lossy"), model=long_token_model(bytes.fromhex(output)))
    assert host.generate(b"s", 1) == 0
    assert host.result.decode() == text.replace("?", "\ufffd")


@pytest.mark.parametrize(("option", "status"), [("3", 3), ("13", 13)])
def test_invalid_output_by_profile(option: str, status: int) -> None:
    """GEN-9: the profile says which status invalid output has."""
    host = Host(Profile(invalid_output_utf8=option), model=story_model())  # type: ignore[arg-type]
    assert host.generate(b"x", 1) == status


@pytest.mark.parametrize(("text", "status"), [(b"y" * 65537, 14), (b"\xff" * 65537, 3), (b"y" * 65536, 0)])
def test_utf8_before_length(text: bytes, status: int) -> None:
    """GEN-9, GEN-10, CL-statuses: an output that breaks both rules gives 3."""
    host = Host(model=long_token_model(text))
    assert host.generate(b"a", 1) == status


def test_lossy_output_counts_after_the_replacement() -> None:
    """GEN-9, GEN-10: the limit holds for the result text, in which each bad byte has become three."""
    host = Host(Profile(invalid_output_utf8="lossy"), model=long_token_model(b"\xff" * 21846))
    assert host.generate(b"a", 1) == 14
    host = Host(Profile(invalid_output_utf8="lossy"), model=long_token_model(b"\xff" * 21845))
    assert host.generate(b"a", 1) == 0
    assert host.result == b"\xef\xbf\xbd" * 21845


INFINITE = table_model(
    {ord("a"): {ord("b"): 1e38, ord("c"): 1e38}, ord("b"): dict.fromkeys(range(260), -1e38)},
    otherwise=dict.fromkeys(range(260), 1e38),
    background=-1.0,
    gain=2.0**20,
)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(("prompt", "text"), [(b"a", b"b"), (b"b", b"\0"), (b"?", b"\0")])
def test_infinite_logits_are_no_error(prompt: bytes, text: bytes, temperature: float) -> None:
    """GEN-11, SA-1, SA-4: infinite logits are sampled by rule: two of +inf, all of -inf, all of +inf."""
    host = Host(model=INFINITE)
    assert host.abi.set_sampling_config(temperature, 5, 1.0, 1) == 0
    assert host.generate(prompt, 1) == 0
    assert host.result == text
    assert host.diagnostics["logits_summary"]["max"] is None


def test_nan_logits_are_no_error() -> None:
    """GEN-11, SA-1, SA-2: a logit that is not a number never wins, by either way of sampling."""
    nan = float("nan")
    model = table_model({}, otherwise={ord("a"): nan, ord("b"): 1.0, ord("c"): nan})
    host = Host(model=model)
    for temperature in (0.0, 1.0):
        assert host.abi.set_sampling_config(temperature, 1024, 1.0, 3) == 0
        assert host.generate(b"?", 2) == 0
        assert host.result == b"bb"
    everything = table_model({}, otherwise=dict.fromkeys(range(260), nan))
    host = Host(model=everything)
    assert host.generate(b"?", 2) == 0
    assert host.result == b"\0\0"


def test_failed_generation_keeps_the_model() -> None:
    """ST-7: after a failure inside the transaction there is no context, and the next generation works."""
    host = Host(model=story_model())
    assert host.generate(b"a", 2) == 0
    assert host.generate(b"x", 2) == 3
    document = host.diagnostics
    assert document["model_loaded"] is True
    assert (document["kv_length"], document["prompt_tokens"], document["generated_tokens"]) == (0, 0, 0)
    assert (document["tokenizer_output"], document["selected_token"], document["top_tokens"]) == ("", None, [])
    assert host.abi.generate_next_token() == 13
    assert host.generate(b"a", 2) == 0
    assert host.result == b"bc"


def test_prompt_of_control_characters_is_text() -> None:
    """GEN-1, SL-8: NUL and noncharacters are valid UTF-8."""
    host = Host(model=table_model({}, otherwise=END, capacity=32))
    assert host.generate("\0\ufffe\U0010ffff".encode(), 1) == 0
    assert host.diagnostics["prompt_tokens"] == 1 + 1 + 3 + 4


def test_logits_are_float32() -> None:
    """GEN-5, DG-7: the logits of the table model come out exactly as they were put in."""
    values = [0.1, 1 / 3, 1e-20, 123456.789]
    host = Host(model=table_model({}, otherwise=dict(enumerate(values))))
    assert host.generate(b"?", 1) == 0
    seen = {token: np.float32(logit) for token, logit in host.diagnostics["top_tokens"]}
    assert {token: seen[token] for token in range(4)} == {token: np.float32(v) for token, v in enumerate(values)}
