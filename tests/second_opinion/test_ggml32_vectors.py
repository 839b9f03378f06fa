"""Profile `ggml32` against numbers that ggml's own generic kernels computed (`makers/ggml32`), every bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refruntime.numerics.ggml32.activations import QUANTIZERS, as_bfloat, as_half
from refruntime.numerics.ggml32.blocks import FORMS, take_apart
from refruntime.numerics.ggml32.dots import dot, dot_in_float64
from refruntime.quants.ggml import GGML_TYPES
from tests.support.scalar_ggml import read_q8

VECTORS = np.load(Path(__file__).parent / "vectors/ggml32.npz")
BY_NAME = {each.name: each for each in GGML_TYPES.values()}


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_rows_are_quantised_as_ggml_does(kind: str) -> None:
    """GG-8: quants, scales and sums of Q8_0, Q8_1 and Q8_K."""
    quants, scales, sums = read_q8(kind, VECTORS[f"{kind}.quantized"])
    ours = QUANTIZERS[kind](VECTORS["rows"])
    np.testing.assert_array_equal(ours.quants, quants)
    np.testing.assert_array_equal(ours.scales.view(np.uint32), scales.view(np.uint32))
    if sums is not None:
        np.testing.assert_array_equal(ours.sums.view(np.uint32), sums.view(np.uint32))


def test_every_block_type_has_a_form() -> None:
    """GG-8: what can be decoded in blocks can be multiplied."""
    assert set(FORMS) == {each.name for each in GGML_TYPES.values() if each.decode and each.block_size > 1}


@pytest.mark.parametrize("name", FORMS)
def test_dots_have_the_bits_of_ggml(name: str) -> None:
    """GG-8: one dot of each row with its input."""
    form = FORMS[name]
    blocks = take_apart(BY_NAME[name], VECTORS[f"{name}.weights"])
    ours = np.diagonal(dot(blocks, QUANTIZERS[form.activation](VECTORS["rows"])))
    np.testing.assert_array_equal(ours.view(np.uint32), VECTORS[f"{name}.dots"].view(np.uint32))


@pytest.mark.parametrize("name", FORMS)
def test_integers_times_scales_are_the_decoded_weights(name: str) -> None:
    """GG-8: what was taken apart, put together in float64, is what `to_float` gives, but for its last rounding."""
    each, stored = BY_NAME[name], VECTORS[f"{name}.weights"]
    parts = take_apart(each, stored)
    out, blocks, size = parts.integers.shape
    values = parts.integers / parts.form.unit * parts.scales[:, :, None].astype(np.float64)
    if parts.group_scales is not None:
        values *= np.repeat(parts.group_scales, size // parts.group_scales.shape[2], axis=2)
    if parts.minimum_scales is not None and parts.minima is not None:
        values -= np.repeat(parts.minima, 16, axis=2) * parts.minimum_scales[:, :, None].astype(np.float64)
    elif parts.minimum_scales is not None:
        values += parts.minimum_scales[:, :, None]
    assert each.decode is not None
    decoded = np.empty((out * blocks * size // each.block_size, each.block_size), np.float32)
    each.decode(stored.reshape(-1, each.type_size), decoded)
    np.testing.assert_array_equal(values.astype(np.float32).reshape(-1), decoded.reshape(-1))


def test_plain_numbers_are_added_in_float64() -> None:
    """GG-8: products are rounded to float32, their sum once, whatever the number of columns held at once."""
    rng = np.random.default_rng(3)
    values, rows = rng.standard_normal((3, 700)).astype(np.float32), rng.standard_normal((2, 700)).astype(np.float32)
    for row, ours in enumerate(dot_in_float64(values, rows)):
        for position, mine in enumerate(ours):
            total = 0.0
            for w, x in zip(values[row], rows[position], strict=True):
                total += float(w * x)
            assert mine == np.float32(total)


def test_roundings_of_plain_inputs() -> None:
    """GG-8: halves and bfloat16 are rounded to even; a NaN stays one."""
    numbers = np.array([1 + 2**-11, 1 + 3 * 2**-11, 65520, -1e-8, 1 + 2**-8, 1 + 3 * 2**-8, np.nan], np.float32)
    np.testing.assert_array_equal(as_half(numbers[:4]), np.array([1, 1 + 2**-9, np.inf, -0.0], np.float32))
    np.testing.assert_array_equal(as_bfloat(numbers[4:]), np.array([1, 1 + 2**-6, np.nan], np.float32))
