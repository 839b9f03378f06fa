"""Every type that ggml decodes, against blocks that its C code decoded, and the table of types as ggml reports it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from refruntime.quants.ggml import GGML_TYPES, dequantize
from tests.support.ggml_blocks import KERNELS

CAST = ("f32", "f64", "i8", "i16", "i32", "i64")  # copied, or converted as in C; ggml has no `to_float` for them
DECODED = {each.name: each for each in GGML_TYPES.values() if each.decode and each.name not in CAST}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", DECODED)
def test_blocks_decode_to_the_bits_of_ggml(shared_data: Path, name: str, kernels: str) -> None:
    """GG-8: normal blocks, random bytes and extreme scales give ggml's own `to_float` bits; NaN as NaN."""
    vectors = np.load(shared_data / "dequant" / f"{name}.npz")
    raw, bits = vectors["raw"], vectors["f32"]
    assert raw.shape == (len(bits), DECODED[name].type_size)
    found = dequantize(DECODED[name], raw.reshape(-1), bits.shape, kernels=kernels)
    nan = np.isnan(bits.view(np.float32))
    np.testing.assert_array_equal(np.isnan(found), nan)
    np.testing.assert_array_equal(found.view(np.uint32)[~nan], bits[~nan])
    assert (~nan).sum() >= 2048
    assert set(vectors["kind"].tolist()) >= ({0, 1, 2} if DECODED[name].block_size > 1 else {1})


def test_the_table_of_types_is_that_of_ggml(shared_data: Path) -> None:
    """GG-3: numbers, names and sizes of the 27 types as ggml reports them; none of them lacks a decoder."""
    types = json.loads((shared_data / "dequant" / "index.json").read_text())["types"]
    ours = {each.name: (each.number, each.block_size, each.type_size) for each in DECODED.values()}
    assert ours == {name: (each["ggml_type"], each["block_size"], each["type_size"]) for name, each in types.items()}
    assert len(types) == 27
