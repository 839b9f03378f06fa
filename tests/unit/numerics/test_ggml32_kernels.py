"""Compiled loops of `ggml32` have the bits of NumPy's definition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.model.architectures.llama import LLAMA
from refruntime.model.forward import Transformer
from refruntime.model.hyperparameters import ScaleParameters, WindowParameters
from refruntime.model.layout.tree import AttentionLayout, FeedForward
from refruntime.model.load import validate_model
from refruntime.model.plain import plain_model
from refruntime.model.weights import Norm
from refruntime.numerics.ggml32 import Ggml32, Switches
from refruntime.numerics.ggml32.activations import QUANTIZERS, as_bfloat, as_half
from refruntime.numerics.ggml32.blocks import FORMS, take_apart
from refruntime.numerics.ggml32.c_library import LIBRARIES
from refruntime.numerics.ggml32.dots import dot, dot_in_float64
from refruntime.quants.ggml import GGML_TYPES
from tests.support.scalar_ggml import random_rows, random_weights

pytest.importorskip("numba")

from refruntime.numerics.ggml32.compiled import CompiledProducts
from refruntime.numerics.ggml32.step_loops import exponential, to_bfloat, to_half

BY_NAME = {each.name: each for each in GGML_TYPES.values()}
MODELS = Path(__file__).parents[3] / "golden/models"


@pytest.mark.parametrize("threads", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FORMS)
def test_compiled_dots(name: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """GG-8: every form, one position and several, rows split over threads or not."""
    monkeypatch.setattr("refruntime.numerics.ggml32.compiled.THREAD_WORK", 1000)
    each = BY_NAME[name]
    blocks = take_apart(each, random_weights(name, 7, 1024, each.block_size, each.type_size, 9))
    rows = QUANTIZERS[FORMS[name].activation](random_rows(5, 1024, 4))
    compiled = CompiledProducts(threads)
    np.testing.assert_array_equal(compiled.dot(blocks, rows).view(np.uint32), dot(blocks, rows).view(np.uint32))


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_compiled_quantisers(kind: str) -> None:
    """GG-8: zeros, halves between two quants, magnitudes whose reciprocal overflows, and whatever else."""
    rows = random_rows(60, 512, 6)
    rows[5] *= np.float32(1e-38) / np.abs(rows[5]).max()
    rows[6] = np.float32(1e-45)
    rows[7] = np.where(np.arange(512) % 5, 0, rows[7])
    ours, theirs = CompiledProducts(1).quantize(kind, rows), QUANTIZERS[kind](rows)
    np.testing.assert_array_equal(ours.quants, theirs.quants)
    np.testing.assert_array_equal(ours.scales.view(np.uint32), theirs.scales.view(np.uint32))
    np.testing.assert_array_equal(ours.sums.view(np.uint32), theirs.sums.view(np.uint32))


def test_compiled_plain_dots() -> None:
    """GG-8: plain numbers, added in float64."""
    rng = np.random.default_rng(8)
    columns, rows = rng.standard_normal((300, 33)).astype(np.float32), rng.standard_normal((4, 300)).astype(np.float32)
    ours = CompiledProducts(1).plain(columns, rows)
    np.testing.assert_array_equal(ours.view(np.uint32), dot_in_float64(columns.T, rows).view(np.uint32))


@pytest.mark.parametrize("name", ["stories.f32.gguf", "small.f16.gguf", "plain-gguf-storage-q5_k.gguf"])
def test_compiled_forward_pass(name: str) -> None:
    """GEN-4: logits of a whole model, prompt and one position more, with half-precision keys too."""
    validated = validate_model((MODELS / name).read_bytes(), Profile())
    results = []
    for kernels in ("numpy", "numba"):
        numerics = Ggml32(Switches(kv="f16"), kernels=kernels)
        transformer = Transformer(validated, Profile(), numerics)
        cache = transformer.new_cache()
        passes = [transformer.forward(part, cache, first_logit=-len(part)) for part in ([1, 9, 80, 33], [7])]
        assert numerics.kernels == kernels
        results.append(np.concatenate(passes))
    np.testing.assert_array_equal(results[0].view(np.uint32), results[1].view(np.uint32))


WIDE_BLOCKS = ("iq1", "iq2", "iq3", "iq4_xs", "k.gguf", "tq")
"""Types that are multiplied with blocks of 256."""


@pytest.mark.parametrize("kv", ["f32", "f16"])
@pytest.mark.parametrize(
    "name",
    sorted(
        path.name
        for path in MODELS.glob("*.gguf")
        if path.name.startswith(("stories", "small", "plain-gguf"))
        and not any(map(path.name.__contains__, WIDE_BLOCKS))
    ),
)
def test_whole_steps(name: str, kv: Literal["f32", "f16"], monkeypatch: pytest.MonkeyPatch) -> None:
    """GEN-4: tokens one by one, each in one call, have the bits of all in one pass, which knows no such call."""
    validated = validate_model((MODELS / name).read_bytes(), Profile())
    tokens = [1, 9, 80, 33, 7] * (14 if name.startswith("stories") else 1)
    plain = Transformer(validated, Profile(), Ggml32(Switches(kv=kv), kernels="numpy"))
    expected_cache = plain.new_cache()
    expected = plain.forward(tokens, expected_cache, first_logit=-len(tokens))
    transformer = Transformer(validated, Profile(), Ggml32(Switches(kv=kv), kernels="numba"))
    cache = transformer.new_cache()
    monkeypatch.delattr(Ggml32, "project")  # so that no operation is asked for by itself
    steps = np.concatenate([transformer.forward([token], cache) for token in tokens])
    np.testing.assert_array_equal(steps.view(np.uint32), expected.view(np.uint32))
    assert cache.length == expected_cache.length
    for ours, theirs in zip(cache.positions(0, len(tokens)), expected_cache.positions(0, len(tokens)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_scalar_functions_of_whole_steps() -> None:
    """GG-8: numbers one by one have the bits of arrays: all magnitudes, halves between two halves, no numbers."""
    bits = np.random.default_rng(12).integers(0, 1 << 32, 20_000, np.uint64).astype(np.uint32)
    halves = np.arange(0x7C01, dtype=np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
    between = halves[:-1] + (halves[1:] - halves[:-1]) // 2
    near = np.concatenate([between[::7], between[::7] + 1, between[::7] - 1, halves[::11], halves[:40], between[:40]])
    rng = np.random.default_rng(13)
    x = np.concatenate([bits.view(np.float32), near.view(np.float32), -near.view(np.float32)])
    x = np.concatenate([x, rng.uniform(-110, 95, 20_000).astype(np.float32)])
    for ours, theirs in ((exponential, LIBRARIES["glibc"].exp), (to_half, as_half), (to_bfloat, as_bfloat)):
        with np.errstate(all="ignore"):
            expected = theirs(x)
        found = np.array([ours(number) for number in x], np.float32)
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(found.view(np.uint32)[known], expected.view(np.uint32)[known])
        assert np.isnan(found[~known]).all()


def test_models_that_are_not_plain() -> None:
    """FW-2: a bias, a cap, a window, a factor or another architecture, and a model goes the usual way."""
    validated = validate_model((MODELS / "stories.q4_0.gguf").read_bytes(), Profile())
    weights = Transformer(validated, Profile(), Ggml32()).weights
    d, one = validated.hyperparameters, np.ones(1, np.float32)
    assert plain_model(LLAMA, d, weights) is not None
    assert plain_model(replace(LLAMA, rope_pairs="halves"), d, weights) is None
    for changed in (
        replace(d, scales=ScaleParameters(residual=2.0)),
        replace(d, windows=WindowParameters(4)),
        replace(d, parallel=True),
        replace(d, rope=replace(d.rope, applied=False)),
        replace(d, rope=replace(d.rope, rotated=d.head_dim - 2)),
    ):
        assert plain_model(LLAMA, changed, weights) is None
    first, *rest = weights.model.layers
    assert isinstance(first.mixer, AttentionLayout)
    assert isinstance(first.feed_forward, FeedForward)
    norm = Norm(one, None)
    biased = replace(first.mixer.output, biases=(one,))
    for layer in (
        replace(first, mixer=replace(first.mixer, output=biased)),
        replace(first, mixer=replace(first.mixer, key_norm=norm)),
        replace(first, mixer=replace(first.mixer, sinks=one)),
        replace(first, feed_forward=replace(first.feed_forward, up=biased)),
        replace(first, post_ffw_norm=norm),
        replace(first, attn_norm=None),
        replace(first, ffn_norm=Norm(one, one)),
        replace(first, scale=one),
    ):
        model = replace(weights.model, layers=(layer, *rest))
        assert plain_model(LLAMA, d, replace(weights, model=model)) is None


def test_whole_steps_of_many_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """GEN-4: beyond a size nothing is copied, and where the step begins in the middle of a text it finds the cache."""
    validated = validate_model((MODELS / "small.q4_1.gguf").read_bytes(), Profile())
    rows = []
    for most in (1 << 23, 100):
        monkeypatch.setattr("refruntime.numerics.ggml32.step.MOST_WEIGHTS", most)
        transformer = Transformer(validated, Profile(), Ggml32(kernels="numba"))
        cache = transformer.new_cache()
        transformer.forward([1, 9, 80], cache)
        rows.append(transformer.forward([7], cache))
    np.testing.assert_array_equal(rows[0].view(np.uint32), rows[1].view(np.uint32))


def test_they_are_loaded_when_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default NumPy begins, and the loops take over behind enough multiplications; `numpy` excludes them."""
    numerics = Ggml32()
    assert numerics.kernels == "numpy"
    numerics.prepare()
    assert numerics.kernels == "numba"
    excluded = Ggml32(kernels="numpy")
    excluded.prepare()
    assert excluded.kernels == "numpy"
    with pytest.raises(ValueError, match="unknown kernels 'fast'"):
        Ggml32(kernels="fast")
