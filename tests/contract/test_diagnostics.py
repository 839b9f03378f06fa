"""Section 9 of the contract: the diagnostics document, read back with an independent parser."""

from __future__ import annotations

import json
import math
import re
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime import Profile
from refruntime.containers.slm1_format import DType
from refruntime.diagnostics import Report, build_diagnostics, json_f32, json_string
from refruntime.sampling import SamplingConfig
from tests.contract.host import Host
from tests.contract.models import EOS, story_model, table_model
from tests.guest.dialects import KEYS
from tests.support.slm1_by_hand import bpe1
from tests.support.synthetic import SMALL, TINYLM_16M, random_weights, slm1_file

NAN, INF = math.nan, math.inf


def parsed(document: bytes) -> dict[str, Any]:
    """Parse strictly: no NaN or Infinity, no key twice."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    result: dict[str, Any] = json.loads(
        document.decode("utf-8"), parse_constant=refuse, object_pairs_hook=unique, parse_float=float
    )
    return result


def report_of(*logits: float, **fields: Any) -> dict[str, Any]:
    """Return the parsed document for given logits."""
    report = Report(SamplingConfig(), logits=np.array(logits, np.float32), **fields)
    return parsed(build_diagnostics(report, Profile()))


def test_keys_and_their_order() -> None:
    """DG-1, DG-3: one JSON object with the published keys in their order, before and after a generation."""
    host = Host()
    assert tuple(parsed(host.document)) == KEYS
    assert host.load(story_model()) == 0
    assert host.generate(b"a", 2) == 0
    assert tuple(parsed(host.document)) == KEYS


def test_types() -> None:
    """DG-4, DG-6: the type of every value, without a model, with one, after a generation and after a failure."""
    host = Host()
    for step in range(4):
        if step == 1:
            host.load(story_model())
        elif step == 2:
            host.generate(b"a", 2)
        elif step == 3:
            host.generate(b"x", 2)
        document = parsed(host.document)
        for name in ("prompt_tokens", "generated_tokens", "peak_scratch_bytes", "kv_length", "top_k"):
            assert type(document[name]) is int
        assert document["model_load_ms"] == 0
        assert document["tokens_per_second"] == 0
        assert type(document["quantization"]) is str
        assert document["last_error"] is None or type(document["last_error"]) is str
        assert type(document["model_loaded"]) is bool
        assert re.fullmatch(r"(\d+(,\d+)*)?", document["tokenizer_output"])
        assert document["selected_token"] is None or type(document["selected_token"]) is int
        assert all(type(token) is int and isinstance(logit, int | float) for token, logit in document["top_tokens"])
        summary = document["logits_summary"]
        assert summary is None or list(summary) == ["min", "max", "mean"]
        assert re.fullmatch(r"\d+", document["seed"])


def test_rebuilt_after_every_status_call() -> None:
    """DG-2: also after calls that change no other thing; the getters change nothing."""
    host = Host(model=story_model())
    assert host.abi.load_model(0, 1) == 1
    assert parsed(host.document)["last_error"] == "null pointer"
    assert host.document == host.document
    assert host.abi.init_runtime() == 0
    assert parsed(host.document)["last_error"] is None


def test_counts_of_a_generation() -> None:
    """DG-6, DG-8: prefilled ids, their count, generated tokens with continuations, KV length."""
    host = Host(model=story_model())
    assert host.generate("é".encode(), 5) == 0
    document = parsed(host.document)
    assert (document["tokenizer_output"], document["prompt_tokens"]) == ("256,195,169", 3)
    assert (document["generated_tokens"], document["kv_length"]) == (0, 3)
    assert host.generate(b"a", 2) == 0
    assert host.abi.generate_next_token() == 0
    assert host.abi.generate_next_token() == 0  # EOS is not counted
    document = parsed(host.document)
    assert (document["prompt_tokens"], document["generated_tokens"], document["kv_length"]) == (2, 3, 5)


@pytest.mark.parametrize(("hidden", "ffn", "capacity", "scratch"), [(512, 2048, 512, 47104), (32, 96, 64, 2688)])
def test_scratch_size(hidden: int, ffn: int, capacity: int, scratch: int) -> None:
    """DG-5: 4 x (10 H + 3 F + C), the published 47104 for 512/2048/512; 0 without a model."""
    dimensions: dict[str, Any] = dict(TINYLM_16M if hidden == 512 else SMALL)
    assert (dimensions["hidden_size"], dimensions["ffn_size"], dimensions["max_context"]) == (hidden, ffn, capacity)
    dimensions["layer_count"] = 1
    host = Host(Profile(checksum="not verified"))
    assert parsed(host.document)["peak_scratch_bytes"] == 0
    assert host.load(slm1_file(random_weights(1, **dimensions), dtype=DType.Q8_0, **dimensions)) == 0
    assert parsed(host.document)["peak_scratch_bytes"] == scratch
    assert host.abi.free_model() == 0
    assert parsed(host.document)["peak_scratch_bytes"] == 0


def test_diagnostics_show_the_logits_that_were_sampled_last() -> None:
    """DG-4, DG-6: not those that the last token led to: after `a` came `b`, and these are the logits after `a`."""
    model = table_model({ord("a"): {ord("b"): 2.5}, ord("b"): {ord("c"): 3.5}})
    host = Host(model=model)
    assert host.generate(b"a", 1) == 0
    document = parsed(host.document)
    assert document["selected_token"] == ord("b")
    assert document["top_tokens"][0] == [ord("b"), 2.5]
    assert document["logits_summary"]["max"] == 2.5
    assert host.abi.generate_next_token() == 0
    assert parsed(host.document)["top_tokens"][0] == [ord("c"), 3.5]


def test_eos_step_is_shown() -> None:
    """CL-state, NT-5: after EOS selected token, top tokens and summary are those of the EOS step."""
    model = table_model({ord("a"): {ord("b"): 2.5}}, otherwise={EOS: 4.5})
    host = Host(model=model)
    assert host.generate(b"a", 9) == 0
    document = parsed(host.document)
    assert (document["selected_token"], document["top_tokens"][0]) == (EOS, [EOS, 4.5])
    assert document["logits_summary"]["max"] == 4.5


def test_five_best_whatever_top_k_says() -> None:
    """DG-4, CL-state: top_tokens ignores top_k, temperature and top_p."""
    model = table_model({}, otherwise={10: 1.0, 20: 3.0, 30: 2.0, 40: 3.0, 50: 2.0, 60: 2.0})
    for top_k, top_p in ((1, 1.0), (2, 0.001), (1024, 1.0)):
        host = Host(model=model)
        assert host.abi.set_sampling_config(0.5, top_k, top_p, 2) == 0
        assert host.generate(b"?", 1) == 0
        assert parsed(host.document)["top_tokens"] == [[20, 3], [40, 3], [30, 2], [50, 2], [60, 2]]


def test_ties_of_top_tokens_follow_the_profile() -> None:
    """DG-4, SA-2, CL-state: ties as the sampler breaks them; the id that argmax takes need not come first."""
    model = table_model({}, otherwise={10: 1.0, 20: 1.0, 30: 1.0})
    host = Host(Profile(equal_logits="higher id first"), model=model)
    assert host.generate(b"?", 1) == 0
    document = parsed(host.document)
    assert [token for token, _ in document["top_tokens"][:3]] == [30, 20, 10]
    assert document["selected_token"] == 10  # SA-1: first of equals


def test_few_candidates() -> None:
    """CL-state: NaN is left out, the list may be shorter than five, infinite logits are written as null."""
    assert report_of(NAN, 1, NAN, 2)["top_tokens"] == [[3, 2], [1, 1]]
    assert report_of(NAN, NAN)["top_tokens"] == []
    assert report_of(0, INF, -INF, NAN)["top_tokens"] == [[1, None], [0, 0], [2, None]]


@pytest.mark.parametrize(
    ("logits", "low", "high", "mean"),
    [
        ([1, 2, 3], 1, 3, 2),
        ([NAN, 2, 3], 2, 3, None),
        ([NAN, NAN], None, None, None),
        ([INF, 1], 1, None, None),
        ([-INF, 1], None, 1, None),
        ([INF, -INF], None, None, None),
        ([3e38, 3e38, -3e38], -3e38, 3e38, None),  # the sum overflows on the way
        ([-3e38, 3e38, 3e38], -3e38, 3e38, 1e38),
        ([7], 7, 7, 7),
    ],
)
def test_summary(logits: list[float], low: float | None, high: float | None, mean: float | None) -> None:
    """DG-6, DG-7, CL-state: min and max ignore NaN, the mean does not; what is not finite is null."""
    summary = report_of(*logits)["logits_summary"]
    for name, expected in (("min", low), ("max", high), ("mean", mean)):
        found = summary[name]
        assert (found is None) == (expected is None), name
        if expected is not None:
            assert np.float32(found) == np.float32(expected)


def test_mean_is_the_sequential_float32_sum() -> None:
    """DG-7: one addition after the other in float32; pairwise or float64 sums would give other bits."""
    logits = np.random.default_rng(5).normal(0, 10, 1000).astype(np.float32)
    total = 0.0
    for logit in logits.tolist():
        total = struct.unpack("<f", struct.pack("<f", total + logit))[0]
    expected = np.float32(total) / np.float32(1000)
    assert expected != np.float32(np.sum(logits, dtype=np.float64) / 1000)
    assert expected != np.sum(logits) / np.float32(1000)
    assert np.float32(report_of(*logits.tolist())["logits_summary"]["mean"]) == expected


def test_mean_of_negative_zeros_is_zero() -> None:
    """DG-7: the sum starts at 0.0, so it is not -0.0; a logit keeps its sign."""
    document = build_diagnostics(Report(SamplingConfig(), logits=np.array([-0.0, -0.0], np.float32)), Profile())
    assert b'"logits_summary":{"min":-0,"max":-0,"mean":0}' in document
    assert b'"top_tokens":[[0,-0],[1,-0]]' in document


@settings(max_examples=500)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_numbers_read_back_and_are_the_shortest(value: float) -> None:
    """DG-7: the decimal reads back to the same float32, and no decimal with fewer digits does."""
    text = json_f32(np.float32(value))
    assert struct.pack("<f", float(text)) == struct.pack("<f", value)
    assert json.loads(text) == float(text)
    digits = len(re.sub(r"e.*|\D", "", text).strip("0")) or 1
    if value != 0 and digits > 1:
        fewer = f"{value:.{digits - 2}e}"
        assert struct.pack("<f", np.float32(fewer)) != struct.pack("<f", value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (-2.5, "-2.5"),
        (1 / 3, "0.33333334"),
        (16777216.0, "16777216"),
        (2.0**-149, "1e-45"),
        (3.4028234663852886e38, "3.4028235e+38"),
        (NAN, "null"),
        (INF, "null"),
        (-INF, "null"),
    ],
)
def test_how_numbers_are_written(value: float, text: str) -> None:
    """DG-7: known shortest decimals; what is not finite is null."""
    assert json_f32(np.float32(value)) == text


def test_sampling_values_are_written_as_float32() -> None:
    """DG-6, DG-7: temperature and top_p are the float32 values that were set; seed is a string for all of u64."""
    host = Host()
    assert host.abi.set_sampling_config(0.7, 40, 0.95, 2**64 - 1) == 0
    assert b'"temperature":0.7,"top_k":40,"top_p":0.95,"seed":"18446744073709551615"' in host.document


@settings(max_examples=300)
@given(st.text())
def test_strings_are_escaped(text: str) -> None:
    """DG-1: any text reads back; quote, backslash, control characters and U+2028/U+2029 never appear raw."""
    quoted = json_string(text)
    assert json.loads(quoted) == text
    assert not re.search("[\0-\x1f\x7f-\x9f\u2028\u2029]", quoted)
    assert not re.search(r'(?<!\\)(\\\\)*"', quoted[1:-1])


def test_escapes() -> None:
    """DG-1: the escapes one by one, as JavaScript's own parser reads them."""
    assert json_string('a"b\\c') == r'"a\"b\\c"'
    assert json_string("\n\t\0\x1f") == r'"\u000a\u0009\u0000\u001f"'
    assert json_string("\u2028\u2029é€😀") == '"' + r"\u2028\u2029" + 'é€😀"'


def test_renamed_keys() -> None:
    """DG-3: a profile may rename keys; order and meaning stay."""
    names = (("kv_length", "kv_cache_length"), ("seed", 'the "seed"'), ("top_k", "topK"))
    host = Host(Profile(diagnostic_names=names), model=story_model())
    assert host.generate(b"a", 2) == 0
    renamed, plain = parsed(host.document), Host(model=story_model())
    assert plain.generate(b"a", 2) == 0
    mapping = dict(names)
    assert list(renamed) == [mapping.get(key, key) for key in KEYS]
    assert list(renamed.values()) == list(parsed(plain.document).values())


def test_prompt_ids_of_merges() -> None:
    """DG-6, SL-10: `the` with the BPE1 fixture shows the published 256,261."""
    section = bpe1([(260, b"th"), (261, b"the")], [(116, 104, 260, 0), (260, 101, 261, 1)], vocab_size=262)
    host = Host(model=table_model({}, vocab_size=262, tokenizer=section))
    assert host.generate(b"the", 1) == 0
    assert parsed(host.document)["tokenizer_output"] == "256,261"


def test_document_is_utf8_without_a_terminator() -> None:
    """DG-1: the length is that of the text alone."""
    host = Host()
    document = host.document
    assert document[:1] + document[-1:] == b"{}"
    assert document.decode("utf-8").isprintable()
