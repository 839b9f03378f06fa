"""Block types against gguf-py, whose decoders other people wrote, and the facts that are taken from gguf-py itself.

q1_0, q2_0 and the plain types, which gguf-py does not decode, and mxfp4 and nvfp4, which it learned lately, are in
`test_quants_scalar.py`. gguf-py's grids serve both sides here; `tests/second_opinion` holds every type to blocks that
ggml's C code decoded.
"""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime.quants.ggml import dequantize
from refruntime.quants.grids import EVEN_SIGNS, grid
from refruntime.quants.non_linear import FP4_VALUES, IQ4_VALUES
from tests.support.ggml_blocks import (
    BY_NAME,
    COMPILED,
    IN_GGUF_PY,
    KERNELS,
    NEWER,
    extreme_blocks,
    random_blocks,
    same_bits,
)

EXTREME = [name for name in COMPILED if name not in NEWER]


def since(name: str) -> None:
    """Skip where gguf-py is too old to decode a type; `test_quants_scalar.py` has the same types."""
    if name.endswith("fp4") and not hasattr(gguf.quants, name.upper()):
        pytest.skip(f"this gguf-py does not decode {name} yet")


def by_gguf_py(name: str, blocks: np.ndarray) -> np.ndarray:
    """Decode with gguf-py, whose warnings about infinite scales do not matter; skip what an older one cannot."""
    since(name)
    with np.errstate(all="ignore"):
        values = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType(BY_NAME[name].number))
    return values.astype(np.float32).reshape(len(blocks), -1)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", IN_GGUF_PY)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_random_bytes_equal_gguf_py(name: str, kernels: str, seed: int) -> None:
    """GG-8: any bytes, infinities, NaN and subnormals included, give the bits of gguf-py's own decoder."""
    blocks = random_blocks(name, 64, seed)
    expected = by_gguf_py(name, blocks)
    assert same_bits(dequantize(BY_NAME[name], blocks.reshape(-1), expected.shape, kernels=kernels), expected)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", EXTREME)
def test_extreme_scales_equal_gguf_py(name: str, kernels: str) -> None:
    """GG-8: zero, subnormal, largest, infinite and NaN scales of both signs, every exponent byte: gguf-py's bits."""
    blocks = extreme_blocks(name, 11)
    expected = by_gguf_py(name, blocks)
    assert len(blocks) >= 3 * 18
    assert same_bits(dequantize(BY_NAME[name], blocks.reshape(-1), expected.shape, kernels=kernels), expected)


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_every_code_of_the_short_floats_equals_gguf_py(name: str) -> None:
    """GG-8: all 65536 half and brain floats, in one tensor and one at a time, NaN as NaN."""
    codes = np.arange(1 << 16, dtype=np.uint16)
    expected = by_gguf_py(name, codes.view(np.uint8).reshape(-1, 2)).reshape(-1)
    assert same_bits(dequantize(BY_NAME[name], codes.tobytes(), codes.shape), expected)
    for code in range(0, 1 << 16, 97):  # an infinity or NaN elsewhere in the chunk takes another way
        alone = dequantize(BY_NAME[name], codes[code].tobytes(), (1,))
        assert same_bits(alone, expected[code : code + 1])


QUANTIZED = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "f16", "bf16", "tq1_0", "tq2_0", "mxfp4"]
ROUGHEST = {"tq1_0": 2, "tq2_0": 2, "mxfp4": 1}  # largest deviations; a ternary digit keeps little


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_by_gguf_py_and_back(name: str) -> None:
    """GG-8: values that gguf-py quantised come back near themselves, through our decoder as through its own."""
    since(name)
    values = np.random.default_rng(3).normal(size=(16, 512)).astype(np.float32)
    kind = gguf.GGMLQuantizationType(BY_NAME[name].number)
    raw = gguf.quants.quantize(values, kind)
    found = dequantize(BY_NAME[name], raw.tobytes(), values.shape)
    assert same_bits(found, gguf.quants.dequantize(raw, kind).astype(np.float32))
    assert np.abs(found - values).max() < ROUGHEST.get(name, 0.4)


GRIDS = {  # type -> (points, values that occur, first points as in ggml-common.h, where the lowest byte comes first)
    "iq2_xxs": (256, {8, 25, 43}, ["0808080808080808", "080808080808082b", "0808080808081919", "0808080808082b08"]),
    "iq2_xs": (512, {8, 25, 43}, ["0808080808080808", "080808080808082b", "0808080808081919", "0808080808082b08"]),
    "iq2_s": (1024, {8, 25, 43}, ["0808080808080808", "080808080808082b", "0808080808081919", "0808080808082b08"]),
    "iq3_xxs": (256, {4, 12, 20, 28, 36, 44, 52, 62}, ["04040404", "04040414", "04040424", "04040c0c"]),
    "iq3_s": (512, {1, 3, 5, 7, 9, 11, 13, 15}, ["01010101", "01010103", "01010105", "0101010b"]),
    "iq1_s": (2048, {-1, 0, 1}, ["ffffffffffffffff", "ffffffffffffff01", "ffffffffffff0000", "ffffffffffff01ff"]),
    "iq1_m": (2048, {-1, 0, 1}, ["ffffffffffffffff", "ffffffffffffff01", "ffffffffffff0000", "ffffffffffff01ff"]),
}


@pytest.mark.parametrize("name", GRIDS)
def test_gguf_py_still_holds_the_grids_where_they_are_taken_from(name: str) -> None:
    """GG-8: if this fails, gguf-py moved `quants.<TYPE>.init_grid`, `grid` or `grid_shape`; `grid()` must follow."""
    kind = getattr(gguf.quants, name.upper())
    kind.init_grid()
    assert kind.grid.size == np.prod(kind.grid_shape)
    points = grid(name)
    count, values, first = GRIDS[name]
    assert points.shape == (count, len(first[0]) // 2)
    assert {int(value) for value in np.unique(points)} == values
    assert len(np.unique(points, axis=0)) == count
    assert [point.astype(np.int8)[::-1].tobytes().hex() for point in points[:4]] == first
    assert not points.flags.writeable


def test_derived_signs_and_tables_are_those_of_gguf_py() -> None:
    """GG-8: eight signs from seven bits, and both tables of 16, are written down here and there."""
    assert EVEN_SIGNS.tolist() == list(gguf.quants.IQ2_XXS.ksigns)
    assert IQ4_VALUES.tolist() == list(gguf.quants.IQ4_NL.kvalues)
    since("nvfp4")
    assert FP4_VALUES.tolist() == list(gguf.quants.MXFP4.kvalues) == list(gguf.quants.NVFP4.kvalues)
