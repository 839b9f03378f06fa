"""Profile `ggml32`: switches, and the operations that differ from those of the other profiles."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics import AttentionVariant, canonical_name, numerics_named
from refruntime.numerics.ggml32 import Ggml32, Switches, read_switches
from refruntime.numerics.ggml32.activations import QUANTIZERS
from refruntime.numerics.ggml32.flash import flash_mix, flash_tiles
from refruntime.numerics.ggml32.reordered import Requantised
from tests.support.command_line import command

MODELS = Path(__file__).parents[3] / "golden/models"
TOKENS = [1, 40, 17, 90, 3, 3, 71]


def logits(name: str, numerics: str, split: int = len(TOKENS)) -> np.ndarray:
    """Forward the tokens in two passes, split where asked."""
    transformer = Transformer(
        validate_model((MODELS / name).read_bytes(), Profile()), Profile(), numerics_named(numerics)
    )
    cache = transformer.new_cache()
    parts = [part for part in (TOKENS[:split], TOKENS[split:]) if part]
    return np.concatenate([transformer.forward(part, cache, first_logit=-len(part)) for part in parts])


def test_switches_have_one_spelling() -> None:
    """A name says what differs from the defaults, in one order."""
    assert read_switches("ggml32,libm=musl,kv=f16") == Switches(kv="f16", libm="musl")
    assert canonical_name("ggml32,libm=musl,gelu=f16,kv=f16") == "ggml32,kv=f16,libm=musl"
    assert numerics_named("ggml32,kv=f32").name == "ggml32"
    assert canonical_name("ggml32,threads=4,flash=on") == "ggml32,flash=on,threads=4"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ggml32,cache=f16", "has no switch 'cache'; expected one of kv, flash, gelu, libm, threads"),
        ("ggml32,kv=q4_0", "has no kv=q4_0; expected one of f32, f16, q8_0"),
        ("ggml32,kv", "has no kv=; expected"),
        ("ggml32,kv=f16,kv=f16", "kv is given twice"),
        ("ggml32,threads=0", "has no threads=0; expected a number from 1 to 512"),
        ("ggml32,threads=0001", "has no threads=0001"),
        ("ggml32,threads=two", "has no threads=two"),
        ("seq32,kv=f16", "unknown numeric profile 'seq32,kv=f16'"),
        ("ggml", "unknown numeric profile 'ggml'"),
    ],
)
def test_unknown_switches_are_refused(name: str, message: str) -> None:
    """What is unknown or said twice is named, in Python and on the command line."""
    with pytest.raises(ValueError, match=message):
        numerics_named(name)
    outcome = command("logits", MODELS / "small.q8_0.gguf", "--ids", "1", "--numerics", name)
    assert outcome.code == 2
    assert "--numerics" in outcome.stderr


@pytest.mark.parametrize("name", ["small.q8_0.gguf", "plain-gguf-storage-q4_k.gguf", "small.bf16.gguf"])
@pytest.mark.parametrize("numerics", ["ggml32", "ggml32,kv=f16"])
def test_a_pass_may_be_split_anywhere(name: str, numerics: str) -> None:
    """GEN-4: the bits do not depend on how many positions are computed together."""
    whole = logits(name, numerics)
    for split in (1, 4):
        np.testing.assert_array_equal(whole.view(np.uint32), logits(name, numerics, split).view(np.uint32))


def test_threads_share_single_tokens() -> None:
    """FW-6: behind 256 positions there are 512 cells, whose parts are put together; before, nothing is."""
    tokens = [1, *map(int, np.random.default_rng(5).integers(3, 250, 269))]
    model = validate_model((MODELS / "stories.q4_0.gguf").read_bytes(), Profile())
    model = replace(model, hyperparameters=replace(model.hyperparameters, max_context=300))
    rows = {}
    for name in ("flash=on", "flash=on,threads=3", "threads=3", "flash=off"):
        transformer = Transformer(model, Profile(), numerics_named(f"ggml32,kv=f16,{name}"))
        rows[name] = transformer.forward(tokens, transformer.new_cache(), first_logit=-len(tokens))
    one, three, off_of_three, off = rows.values()
    np.testing.assert_array_equal(off_of_three, off)
    np.testing.assert_array_equal(three[:256], one[:256])
    assert 0 < np.abs(three[256:] - one[256:]).max() < np.abs(off[256:] - one[256:]).max()


def test_parts_of_cells_are_put_together() -> None:
    """FW-6: by hand, in float64: any split gives the softmax of all cells, a sink counts once, unseen parts do not."""
    random = np.random.default_rng(6)
    scores = random.standard_normal((2, 1, 600)).astype(np.float32)
    scores[:, :, :300] = -np.inf  # a window
    values, sinks = random.standard_normal((600, 1, 4)).astype(np.float32), np.array([0.5, 3], np.float32)
    shares = np.exp(scores[:, 0].astype(np.float64))
    expected = shares @ values[:, 0] / (shares.sum(axis=1) + np.exp(sinks))[:, None]  # [A, D]
    for threads in (1, 2, 5):
        found = flash_mix(scores, values, np.exp, False, sinks, threads)
        np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_it_lies_where_it_should() -> None:
    """GG-8: float32 weights lie as near to the truth as seq32, quantised ones farther, half-precision keys between."""
    plain, exact = logits("stories.f32.gguf", "ggml32"), logits("stories.f32.gguf", "f64")
    assert 0 < np.abs(plain - exact).max() < 1e-4
    halves = np.abs(logits("stories.f32.gguf", "ggml32,kv=f16") - exact).max()
    quantised = np.abs(logits("small.q8_0.gguf", "ggml32") - logits("small.q8_0.gguf", "f64")).max()
    assert halves > 1e-4
    assert quantised > 1e-3


def test_slm1_counts_as_float32() -> None:
    """FW-4: ggml has no type with a scale for a row; such matrices are decoded."""
    assert 0 < np.abs(logits("small.q8_0.slm1", "ggml32") - logits("small.q8_0.slm1", "f64")).max() < 1e-4


def test_angles_are_products_of_one_step() -> None:
    """FW-5: the angle of pair i is that of pair i - 1 times theta^(-2 / D), in float32."""
    ggml = Ggml32()
    cosines, _ = ggml.rope_angles(7, 1, ggml.rotary(10000.0, 64, None, None))
    step, angle = np.float32(10000.0 ** (-2 / 64)), np.float32(7)
    for pair in range(32):
        assert abs(cosines[0, pair] - math.cos(angle)) < 1e-7
        angle = angle * step


def test_softmax_multiplies_by_a_rounded_reciprocal() -> None:
    """FW-6: the sum runs in float64; a sink joins it behind everything else."""
    scores = np.array([[[0.1, 0.7, -3.0, -np.inf]]], np.float32)
    seen = np.isfinite(scores[0])
    ours = Ggml32().softmax(scores, seen, np.array([1.0], np.float32))
    shares = Ggml32().exp(scores[0, 0, :3] - np.float32(1))
    total = sum(map(float, shares)) + 1.0
    np.testing.assert_array_equal(ours[0, 0, :3], shares * np.float32(1 / total))
    assert ours[0, 0, 3] == 0


def test_queries_or_scores_are_scaled() -> None:
    """FW-6: Gemma and Phi scale queries; that changes bits, and no more."""
    rng = np.random.default_rng(2)
    q, keys, values = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4, 8), (8, 2, 5), (5, 2, 8)))
    scored = Ggml32().attention(q, keys, values, 2, AttentionVariant(scale=np.float32(0.3)))
    queried = Ggml32().attention(q, keys, values, 2, AttentionVariant(scale=np.float32(0.3), queries_scaled=True))
    assert (scored.scores != queried.scores).any()
    np.testing.assert_allclose(scored.mixed, queried.mixed, rtol=1e-5, atol=1e-6)


def test_gelu_by_table() -> None:
    """GG-11: by default GELU knows half-precision numbers only, and nothing beyond 10."""
    x = np.array([-11, -10, -0.3, 0.70001, 9.9, 10.03, 1e6], np.float32)
    table, evaluated = Ggml32().gelu_tanh(x), Ggml32(Switches(gelu="f32")).gelu_tanh(x)
    np.testing.assert_array_equal(table[[0, 1, 5, 6]], np.array([0, 0, x[5], x[6]], np.float32))
    assert (table[2:5] == table[2:5].astype(np.float16)).all()
    assert 0 < np.abs(table - evaluated)[2:5].max() < 5e-3


def test_flash_attention_is_the_same_but_for_rounding() -> None:
    """FW-6: one pass with a running maximum gives what softmax gives; sums in half precision round it."""
    rng = np.random.default_rng(6)
    q, keys, values = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4, 8), (8, 2, 5), (5, 2, 8)))
    sinks = np.array([0.5, -2, 9, 0], np.float32)
    plain = Ggml32().attention(q, keys, values, 2, AttentionVariant(window=4, sinks=sinks))
    for halves, most in ((True, 5e-3), (False, 1e-6)):
        flash = flash_mix(plain.scores, values, Ggml32().exp, halves, sinks)
        assert 0 < np.abs(flash - plain.mixed).max() < most
    long = rng.standard_normal((4, 150, 150)).astype(np.float32)
    long[:, ~np.tri(150, dtype=bool)] = -np.inf
    many = rng.standard_normal((150, 2, 8)).astype(np.float32)
    tiles, one = flash_tiles(long, many, Ggml32().exp, sinks), flash_mix(long, many, Ggml32().exp, False, sinks)
    assert 0 < np.abs(tiles - one).max() < 1e-6


def test_another_formula_of_quants() -> None:
    """GG-8: 127 / maximum gives nearly always the same quants, and a neighbour next to the middle of two."""
    rows = np.random.default_rng(2).standard_normal((200, 64)).astype(np.float32)
    rows[0, :3] = 127, 0.5, -1.5  # exact halves: away from zero there, to even here
    engine = Requantised(Switches(), "backwards")
    for kind in ("q8_0", "q8_1"):
        plain, other = QUANTIZERS[kind](rows), engine._quantized(kind, rows)
        moved = np.abs(other.quants.astype(int) - plain.quants.astype(int))
        assert 1 <= np.count_nonzero(moved) < 20
        assert moved.max() == 1
        assert other.quants[0, 0, :3].tolist() == [127, 0, -2]
        assert plain.quants[0, 0, :3].tolist() == [127, 1, -2]
        np.testing.assert_array_equal(other.scales, plain.scales)
        still = moved.sum(axis=2) == 0
        np.testing.assert_array_equal(other.sums[still], plain.sums[still])


def test_flash_attention_reads_halves() -> None:
    """FW-9: keys and values that are kept in float32 are cast for it, so both caches give the same bits."""
    kept = logits("small.q8_0.gguf", "ggml32,flash=on")
    np.testing.assert_array_equal(kept, logits("small.q8_0.gguf", "ggml32,kv=f16,flash=on"))


def test_keys_in_q8_0() -> None:
    """FW-9: blocks of 32 numbers share a scale; shorter heads stay as they are."""
    rng = np.random.default_rng(7)
    keys = rng.standard_normal((2, 3, 64)).astype(np.float32)
    stored = Ggml32(Switches(kv="q8_0")).kept(keys)
    assert 0 < np.abs(stored - keys).max() <= np.abs(keys).max() / 127 / 2 * 1.01
    np.testing.assert_array_equal(Ggml32(Switches(kv="q8_0")).kept(keys[..., :8]), keys[..., :8])
