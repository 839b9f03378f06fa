"""Places and forms of diagnostics fields, to and from the contract's own (DG-3, DG-6)."""

from __future__ import annotations

from typing import Any

import pytest

from refruntime.contract.dialect import Dialect, at_place, place_of
from refruntime.contract.forms import MISSING, Form, FormError
from refruntime.contract.profile import DIAGNOSTIC_NAMES

VALUES: dict[str, Any] = {
    "model_load_ms": 0,
    "prompt_tokens": 3,
    "generated_tokens": 2,
    "tokens_per_second": 0,
    "peak_scratch_bytes": 4096,
    "kv_length": 5,
    "quantization": "q8_0",
    "last_error": None,
    "model_loaded": True,
    "tokenizer_output": "256,97",
    "logits_summary": {"min": -1.5, "max": 2.0, "mean": 0.25},
    "selected_token": 98,
    "top_tokens": [[98, 2.0], [97, 1.0]],
    "temperature": 0.5,
    "top_k": 40,
    "top_p": 0.75,
    "seed": "18446744073709551615",
}

DIALECTS: dict[str, tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...], dict[str, Any]]] = {
    "nested": (
        (("kv_length", "/context/kv"), ("prompt_tokens", "/context/prompt")),
        (),
        {"context": {"prompt": 3, "kv": 5}},
    ),
    "list": ((), (("tokenizer_output", "as=list"),), {"tokenizer_output": [256, 97]}),
    "objects": ((), (("tokenizer_output", "as=objects id=t"),), {"tokenizer_output": [{"t": 256}, {"t": 97}]}),
    "joined": ((), (("tokenizer_output", "as=joined separator=' '"),), {"tokenizer_output": "256 97"}),
    "numbers": ((), (("seed", "as=number"),), {"seed": 2**64 - 1}),
    "hex": ((), (("seed", "as=hex"),), {"seed": "0xffffffffffffffff"}),
    "texts": ((), (("top_k", "as=text"), ("top_p", "as=text")), {"top_k": "40", "top_p": "0.75"}),
    "object": ((("selected_token", "/chosen/id"),), (), {"chosen": {"id": 98}}),
    "none": ((), (("last_error", 'none=""'),), {"last_error": ""}),
    "labels": ((), (("quantization", 'label:q8_0="Q8"'), ("model_loaded", "label:true=1")), {"quantization": "Q8"}),
    "ranking of objects": (
        (),
        (("top_tokens", "as=objects id=i logit=l"),),
        {"top_tokens": [{"i": 98, "l": 2.0}, {"i": 97, "l": 1.0}]},
    ),
    "parallel": (
        (),
        (("top_tokens", "as=parallel id=ids logit=of"),),
        {"top_tokens": {"ids": [98, 97], "of": [2.0, 1.0]}},
    ),
    "map": ((), (("top_tokens", "as=map"),), {"top_tokens": {"98": 2.0, "97": 1.0}}),
    "flat": ((), (("top_tokens", "as=flat"),), {"top_tokens": [98, 2.0, 97, 1.0]}),
    "parts": (
        (("logits_summary.min", "lo"), ("logits_summary.max", "/l/0"), ("logits_summary.mean", "/l/1")),
        (),
        {"lo": -1.5, "l": [2.0, 0.25]},
    ),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_document_reads_back_as_what_was_written(name: str) -> None:
    """DG-3, DG-6: comparison is by meaning, whatever a build's places and forms are."""
    places, forms, shown = DIALECTS[name]
    dialect = Dialect(DIAGNOSTIC_NAMES, places, forms)
    document = dialect.write(VALUES)
    assert {key: document[key] for key in shown} == shown
    assert dialect.read(document) == VALUES


def test_a_field_that_a_build_does_not_have_is_absent() -> None:
    """DG-3: an empty place means that the field is not there."""
    dialect = Dialect(DIAGNOSTIC_NAMES, (("seed", ""),))
    assert "seed" not in dialect.write(VALUES)
    assert "seed" not in dialect.read(VALUES)


def test_ids_alone_lose_the_logits_on_both_sides() -> None:
    """DG-6: what a form cannot hold is not compared."""
    dialect = Dialect(DIAGNOSTIC_NAMES, (), (("top_tokens", "as=ids"),))
    assert dialect.read(dialect.write(VALUES))["top_tokens"] == [[98], [97]]


def test_a_value_of_another_form_is_shown_as_it_is() -> None:
    """DG-6: a form that does not fit hides nothing and raises nothing."""
    dialect = Dialect(DIAGNOSTIC_NAMES, (), (("tokenizer_output", "as=list"), ("seed", "as=hex")))
    assert dialect.read({"tokenizer_output": 7, "seed": "what"}) == {"tokenizer_output": 7, "seed": "what"}


@pytest.mark.parametrize("text", ["as=nothing", "as", "what=1", "as='"])
def test_words_that_are_no_form_are_refused(text: str) -> None:
    """DG-6: a profile with a wrong form is refused."""
    with pytest.raises(FormError):
        Form.parse(text)


def test_places_are_keys_or_pointers() -> None:
    """DG-3: keys with a slash are written as RFC 6901 says."""
    document = {"a/b": {"c~d": [{"e": 1}]}}
    assert at_place(document, place_of(("a/b", "c~d", "0", "e"))) == 1
    assert at_place(document, "/a~1b/x") is MISSING
    assert place_of(("plain",)) == "plain"
