"""Encoders against separately written passes, in float64 and bit for bit in float32, with controls."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.embeddings import POOLINGS, EncoderModel, open_encoder
from refruntime.model.architectures.encoders import ENCODERS as KNOWN
from refruntime.numerics import CompiledSeq32, libm
from refruntime.trace import Event, TensorEvent
from tests.second_opinion import float64_encoders as opinion
from tests.second_opinion.float64_blocks import Array, Weights, gelu_erf, read_weights, silu
from tests.second_opinion.random_encoders import ENCODERS, TEXTS, TOKENS
from tests.second_opinion.scalar_architectures import Functions
from tests.second_opinion.scalar_encoders import Encoder

NOISE = {"f64": 1e-12, "seq32": 2e-5, "fast": 2e-5}
NAMES = sorted(ENCODERS)


@cache
def file_of(name: str) -> bytes:
    return ENCODERS[name](1).file()


@cache
def opened(name: str, numerics: str) -> EncoderModel:
    return open_encoder(file_of(name), numerics=numerics)


@pytest.fixture
def weights_of(tmp_path: Path) -> Callable[[str], Weights]:
    def weights(name: str) -> Weights:
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(file_of(name))
        return read_weights(path)

    return weights


class Rows:
    """Collect what leaves the embedding and every layer."""

    def __init__(self) -> None:
        self.found: list[Array] = []

    def event(self, event: Event) -> None:
        if isinstance(event, TensorEvent) and (event.name == "token_embd_norm" or event.name.endswith(".residual")):
            self.found.append(event.values())


def ids_of(length: int, seed: int = 5) -> list[int]:
    return [2, *np.random.default_rng(seed).integers(5, len(TOKENS), length - 2).tolist(), 3]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("numerics", NOISE)
def test_rows_equal_second_opinion(name: str, numerics: str, weights_of: Callable[[str], Weights]) -> None:
    """GG-15: the row of every token behind the embedding and behind each layer; in every pooling."""
    for length in (1, 2, 40):
        ids, seen = ids_of(length) if length > 1 else [2], Rows()
        expected = opinion.rows(weights_of(name), ids)
        found = opened(name, numerics).rows(ids, seen)
        assert len(seen.found) == len(expected) == 4
        for own, other in zip(seen.found, expected, strict=True):
            assert np.abs(own - other).max() < NOISE[numerics]
        assert np.array_equal(found, seen.found[-1])
        for pooling in POOLINGS:
            (embedding,) = opened(name, numerics).embed([ids], pooling=pooling)
            assert np.abs(embedding.values - opinion.pool(expected[-1], pooling)).max() < NOISE[numerics]
            (unit,) = opened(name, numerics).embed([ids], pooling=pooling, normalize=True)
            wanted = opinion.pool(expected[-1], pooling)
            wanted = wanted / np.linalg.norm(wanted, axis=-1, keepdims=True)
            assert np.abs(unit.values - wanted).max() < NOISE[numerics]


@pytest.mark.parametrize("name", NAMES)
def test_bits_of_a_scalar_pass(name: str) -> None:
    """GG-15, FW-2: seq32 has the bits that the contract's order gives, number by number."""
    made, ids = ENCODERS[name](1), ids_of(7)
    functions = Functions(libm.expf, libm.sinf, libm.cosf, libm.tanhf, libm.powf)
    expected = Encoder(made.metadata, made.tensors, name, functions).forward(ids)
    assert expected.dtype == np.float32
    found = opened(name, "seq32").rows(ids)
    assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))
    total = np.zeros(found.shape[1], np.float32)
    for row in expected:
        total = total + row
    (mean,) = opened(name, "seq32").embed([ids], pooling="mean")
    assert np.array_equal(mean.values, total / np.float32(len(ids)))


@pytest.mark.parametrize("name", NAMES)
def test_compiled_loops_give_the_same_bits(name: str) -> None:
    """FW-6, GG-15: with numba an encoder gives the bits of the NumPy definition."""
    pytest.importorskip("numba", reason="numba is not installed: pip install 'refruntime[speed]'")
    found, expected = (
        open_encoder(file_of(name), numerics=CompiledSeq32(1, kernels)).rows(ids_of(40))
        for kernels in ("numba", "numpy")
    )
    assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))


def test_many_positions_at_once_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """GG-15: attention may take queries in any number of parts."""
    whole = opened("nomic-bert", "seq32").rows(ids_of(40))
    monkeypatch.setattr("refruntime.model.encoder.PRODUCTS", 7 * 40 * 48)
    assert np.array_equal(opened("nomic-bert", "seq32").rows(ids_of(40)), whole)


def test_bert_with_the_other_gelu(weights_of: Callable[[str], Weights]) -> None:
    """GG-12: transformers has the form with erf; the profile says which."""
    expected = opinion.rows(weights_of("bert"), ids_of(20), gelu_erf)[-1]
    chosen = open_encoder(file_of("bert"), Profile(gguf_gptneox_gelu="erf"), "f64").rows(ids_of(20))
    assert np.abs(chosen - expected).max() < NOISE["f64"]
    assert np.abs(opened("bert", "f64").rows(ids_of(20)) - expected).max() > 10 * NOISE["seq32"]


def causal(q: Array, k: Array) -> Array:
    seen = np.tri(q.shape[1], dtype=bool)
    return np.where(seen, _scores(q, k), -np.inf)


_scores = opinion.scores

CONTROLS: list[tuple[str, str, dict[str, Any], dict[str, Callable[[Array], Array]]]] = [
    (name, wrong, blocks, tensors)
    for name in NAMES
    for wrong, blocks, tensors in (
        ("causal", {"scores": causal}, {}),
        ("scores not scaled", {"scores": lambda q, k: _scores(q, k) * 2}, {}),
        ("the other kind of text", {}, {"token_types.weight": lambda values: values[::-1]}),
        ("no norm behind the tables", {}, {"token_embd_norm.weight": np.ones_like}),
        ("no bias of the norm behind attention", {}, {"blk.1.attn_output_norm.bias": np.zeros_like}),
        ("no bias of the last norm", {}, {"blk.2.layer_output_norm.bias": np.zeros_like}),
    )
]
CONTROLS += [
    ("bert", "no positions", {}, {"position_embd.weight": np.zeros_like}),
    ("bert", "positions one further", {}, {"position_embd.weight": lambda values: np.roll(values, 1, axis=0)}),
    ("bert", "SiLU", {"gelu_tanh": silu}, {}),
    ("bert", "no bias of queries", {}, {"blk.0.attn_q.bias": np.zeros_like}),
    ("bert", "no bias behind attention", {}, {"blk.0.attn_output.bias": np.zeros_like}),
    ("bert", "no bias of the feed-forward block", {}, {"blk.0.ffn_down.bias": np.zeros_like}),
    ("nomic-bert", "not rotated", {"rotate_halves": lambda x, turn: x}, {}),
    ("nomic-bert", "GELU", {"silu": opinion.gelu_tanh}, {}),
    ("nomic-bert", "up for gate", {}, {"blk.0.ffn_gate.weight": lambda values: values[::-1]}),
]


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: f"{control[0]}: {control[1]}")
def test_one_wrong_formula_is_noticed(
    control: tuple[str, str, dict[str, Any], dict[str, Callable[[Array], Array]]],
    weights_of: Callable[[str], Weights],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """GG-15: with one thing wrong in the second opinion the comparison fails, tenfold even in float32."""
    name, _, blocks, changes = control
    weights, ids = weights_of(name), ids_of(20)
    for block, wrong in blocks.items():
        monkeypatch.setattr(opinion, block, wrong)
    tensors = {**weights.tensors, **{tensor: change(weights.tensors[tensor]) for tensor, change in changes.items()}}
    gelu = blocks.get("gelu_tanh", opinion.gelu_tanh)
    rows = opinion.rows(Weights(weights.metadata, tensors), ids, gelu)[-1]
    assert np.abs(opened(name, "f64").rows(ids) - rows).max() > 10 * NOISE["seq32"]


@pytest.mark.parametrize("name", NAMES)
def test_texts_do_not_influence_each_other(name: str) -> None:
    """GG-15: a batch gives what each text gives alone, as the file pools, and rows of many texts differ."""
    encoder = opened(name, "seq32")
    batch = encoder.embed(TEXTS)
    for text, together in zip(TEXTS, batch, strict=True):
        (alone,) = encoder.embed([text])
        assert together.ids == alone.ids
        assert np.array_equal(together.values, alone.values)
    assert encoder.pooling == {"bert": "cls", "nomic-bert": "mean"}[name]
    assert len({each.values.tobytes() for each in batch}) == len(TEXTS)


def test_every_encoder_takes_part() -> None:
    """GG-15: whatever encoder the package knows has a second opinion."""
    assert set(KNOWN) == set(ENCODERS)
