"""Entries of `first_wrong.json` and `unknown_bugs.json` that are not obvious, from the arithmetic and not from a run.

Each bug is done to the oracle's own numbers in a few lines, and the first array that comes out otherwise is the one
that the table has to name. No build and nothing of the witness is used.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refruntime.api import Model, open_model
from refruntime.client import Client
from refruntime.engines.reference import ReferenceEngine
from tests.guest.build import GUEST, load_bugs, load_unknown_bugs
from tests.guest.probe import Tensors

MODELS = GUEST.parent.parent / "golden" / "models"
PROMPT = b"Once upon a time"
KNOWN: dict[str, dict[str, Any]] = json.loads((GUEST / "first_wrong.json").read_text("utf-8"))
UNKNOWN: dict[str, dict[str, Any]] = json.loads((GUEST / "unknown_bugs.json").read_text("utf-8"))


def _model(entry: dict[str, Any]) -> Model:
    return open_model(Path(MODELS / entry.get("model", "stories.f32.slm1")))


def _traced(model: Model) -> dict[str, NDArray[np.float32]]:
    trace = Tensors()
    model.logits(model.prompt_ids(PROMPT), trace)
    return trace.arrays


def test_every_entry_is_a_bug_of_the_guest() -> None:
    """FW-2: one that became an option of a rule is a bug no more, and no build can be made for it."""
    assert KNOWN.keys() <= load_bugs().keys()
    assert UNKNOWN.keys() == load_unknown_bugs().keys()


def test_another_key_head_shows_in_the_scores() -> None:
    """GG-8: neither query nor key knows the other; their product is the first that meets the wrong head."""
    entry = KNOWN["kv_head_modulo"]
    tensors = _traced(_model(entry))
    query, key = tensors["blk.0.attn_q.rope"][0], tensors["blk.0.attn_k.rope"][0]  # [A, D], [K, D] of position 0
    heads, kv_heads = len(query), len(key)
    right, wrong = ([math.fsum(query[h] * key[which(h)]) for h in range(heads)] for which in (
        lambda h: h // (heads // kv_heads), lambda h: h % kv_heads
    ))  # fmt: skip
    scale = 1 / math.sqrt(query.shape[1])
    assert np.allclose(tensors["blk.0.attn.scores"][:, 0, 0], np.array(right) * scale, rtol=1e-5)
    assert not np.allclose(right, wrong, rtol=1e-2)
    assert entry["tensors"] == ["blk.0.attn.scores"]


def test_another_activation_is_a_factor_that_the_gate_decides() -> None:
    """FW-7: gate and up come before it; what follows is a product with a function of the gate, element by element."""
    entry = KNOWN["gelu_for_silu"]
    tensors = _traced(_model(entry))
    gate, up, hidden = (tensors[f"blk.0.{name}"][0].astype(float) for name in ("ffn_gate", "ffn_up", "ffn_hidden"))
    silu, gelu = gate / (1 + np.exp(-gate)), gate * (1 + np.vectorize(math.erf)(gate / math.sqrt(2))) / 2
    assert np.allclose(silu * up, hidden, rtol=1e-4, atol=1e-7)
    factors = (gelu * up / hidden)[np.argsort(gate)]
    assert np.abs(factors - 1).max() > 0.1
    assert np.abs(np.diff(factors)).max() < 0.2  # neighbours by gate have nearly one factor, so it is no single one
    assert (entry["tensors"], entry["patterns"]) == (["blk.0.ffn_hidden"], ["factor per element"])


def test_a_shared_place_is_lost_at_once_and_read_one_position_later() -> None:
    """FW-9: two answers are right: the value that is written over at position 0, and the first sum that reads it."""
    entry = UNKNOWN["values_of_layers_0_and_1_share_a_place"]
    model = _model(entry)
    transformer, ids = model.transformer, model.prompt_ids(PROMPT)
    right, wrong = transformer.new_cache(), transformer.new_cache()
    first = ""
    for position in range(2):
        traces = Tensors(), Tensors()
        for cache, trace in zip((right, wrong), traces, strict=True):
            transformer.forward([ids[position]], cache, tracer=trace)
        names = [n for n, x in traces[0].arrays.items() if not np.array_equal(x, traces[1].arrays[n])]
        if position == 0:
            assert not names
        wrong.values[0, position] = wrong.values[1, position]
        assert not np.array_equal(right.values[0, position], wrong.values[0, position])  # from position 0 on
        first = next(iter(names), "")
    assert first == "blk.0.attn.mixed"
    assert (entry["tensor"], entry["position"], entry["accepted"]) == ("blk.0.attn.mixed", 1, ["blk.0.cache_v"])


def test_a_generator_shows_where_its_draws_first_lead_to_another_token() -> None:
    """GEN-7, NT-4, SC-3: the numbers before a draw are right, so the choice is the only answer; the oracle says which.

    Drawing on behind `generate` is one longer generation; a fresh generator is a configuration that is set again.
    """
    for bug in ("generate_uses_shared_generator", "continuation_reseeds"):
        entry = KNOWN[bug]
        model, s, count = _model(entry), entry["sampling"], entry["continued"]
        options = {name: s[name] for name in ("temperature", "top_k", "top_p", "seed")}
        right = model.generate(PROMPT, entry["tokens"], continuations=count, **options)
        if bug == "generate_uses_shared_generator":
            wrong = list(model.generate(PROMPT, entry["tokens"] + count, **options).generated_ids)
        else:
            client = Client(ReferenceEngine())
            assert client.load_model((MODELS / entry["model"]).read_bytes()) == 0
            for status in (client.set_sampling_config(*options.values()), client.generate(PROMPT, entry["tokens"])):
                assert status == 0
            text = client.result()
            for _ in range(count):
                assert client.set_sampling_config(*options.values()) == 0
                assert client.status("generate_next_token") == 0
                text += client.result()
            wrong = list(text)  # a token of this model is a byte
        first = next(at for at, (a, b) in enumerate(zip(right.generated_ids, wrong, strict=False)) if a != b)
        assert entry["tokens"] <= first < entry["tokens"] + count  # within the continuations
        assert entry["tensors"] == ["sampler.choice"]
        assert entry["position"] == len(right.prompt_ids) + first - 1, bug
