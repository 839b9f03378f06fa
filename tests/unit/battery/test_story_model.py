"""The project's own models: intact, fluent, the same in every container, and right by a float64 second opinion."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

import refruntime
from refruntime.contract.profile import Profile
from refruntime.model.load import validate_model
from tests.second_opinion.float64_llama import float64_logits

MODELS = Path(__file__).resolve().parents[3] / "golden" / "models"
INDEX = json.loads((MODELS / "INDEX.json").read_text())["models"]
PROMPTS = ["Once upon a time", "The little", "Mia "]
STORY = re.compile(r'(?:(?:"[A-Z][A-Za-z ,]*[.,!?]" said [A-Z][a-z]+(?: the [a-z]+)?|[A-Z][A-Za-z ,]+)[.!](?: |$))+')
SLM1_NAMES = {
    "token_embd": "tok_embeddings", "output_norm": "norm", "attn_q": "wq", "attn_k": "wk", "attn_v": "wv",
    "attn_output": "wo", "ffn_gate": "w1", "ffn_up": "w3", "ffn_down": "w2", "blk": "layers",
}  # fmt: skip


def test_index_is_complete_and_sums_hold() -> None:
    """SL-1, GG-1: every trained file is in the index with its size and SHA-256, and together they stay below 4 MB."""
    assert sorted(path.name for path in MODELS.glob("stories*")) == sorted(INDEX)
    for name, entry in INDEX.items():
        data = (MODELS / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"]), name
    assert sum(entry["bytes"] for entry in INDEX.values()) < 4_000_000


@pytest.mark.parametrize("prompts", [PROMPTS[:1], pytest.param(PROMPTS[1:], marks=pytest.mark.slow)], ids=len)
@pytest.mark.parametrize(
    "name",  # each storage type and each container once; others say the same text in another file
    [
        pytest.param(
            name, marks=[pytest.mark.slow] * (name in ("stories.f32.gguf", "stories.q4_0.gguf", "stories.q8_0.slm1"))
        )
        for name in sorted(INDEX)
    ],
)
def test_greedy_text_is_well_formed(name: str, prompts: list[str]) -> None:
    """GEN-5, GEN-8, SL-11: greedy stories are whole sentences from beginning to end."""
    model = refruntime.open_model(MODELS / name)
    for prompt in prompts:
        generation = model.generate(prompt, 255)
        text = prompt + generation.text
        assert len(text) > 100
        assert STORY.fullmatch(text), text


@pytest.mark.parametrize("name", [name for name in sorted(INDEX) if "bpe" not in name])
def test_logits_against_float64(name: str) -> None:
    """FW-2, SL-2, GG-8: logits of a whole text agree with a float64 forward pass written apart from the package."""
    validated = validate_model((MODELS / name).read_bytes(), Profile())
    weights = {}
    for canonical, source in validated.tensors.items():
        parts = [SLM1_NAMES.get(part, part) for part in canonical.split(".")]
        weights[".".join(parts)] = source.rows()
    ids = [256, *b"Once upon a time there was a little fox named Mia."]
    expected = float64_logits(weights, ids, heads=4, rope_theta=10000.0, rms_epsilon=float(np.float32(1e-5)))
    found = {kind: refruntime.open_model(MODELS / name, numerics=kind).logits(ids) for kind in ("seq32", "f64")}
    assert np.abs(found["seq32"] - expected).max() < 1e-4
    assert np.abs(found["f64"] - expected).max() < 1e-11


def test_containers_hold_the_same_numbers() -> None:
    """GG-8, FW-4: the float32 model gives the same bits from SLM1 and from GGUF, and the same text."""
    slm1, gguf = (refruntime.open_model(MODELS / f"stories.f32.{suffix}") for suffix in ("slm1", "gguf"))
    assert slm1.tokenize("A big cake.") == [*gguf.tokenize("A big cake."), 257], "GGUF adds no EOS, SLM1 does (GEN-2)"
    ids = [256, *b"Anna found a big cake"]
    assert np.array_equal(slm1.logits(ids).view(np.uint32), gguf.logits(ids).view(np.uint32))


def test_tied_and_byte_pair_variants_are_what_they_say() -> None:
    """SL-3, SL-9: the tied file has no output matrix, and the byte-pair file shortens a text."""
    tied = validate_model((MODELS / "stories-tied.q8_0.slm1").read_bytes(), Profile())
    assert "output.weight" not in tied.tensors
    pairs = validate_model((MODELS / "stories-bpe.q8_0.slm1").read_bytes(), Profile()).tokenizer
    text = b"Once upon a time there was a little fox."
    assert pairs.kind == "bpe1"
    assert len(pairs.encode(text)) < len(text) / 2
    assert pairs.decode(pairs.encode(text)) == text
