"""Compiled loops of `ggml32` have the bits of NumPy's definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics.ggml32 import Ggml32, Switches
from refruntime.numerics.ggml32.activations import QUANTIZERS
from refruntime.numerics.ggml32.blocks import FORMS, take_apart
from refruntime.numerics.ggml32.dots import dot, dot_in_float64
from refruntime.quants.ggml import GGML_TYPES
from tests.support.scalar_ggml import random_rows, random_weights

pytest.importorskip("numba")

from refruntime.numerics.ggml32.compiled import CompiledProducts

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
