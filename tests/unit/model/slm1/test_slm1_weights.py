"""What a valid SLM1 file yields: names, shapes, decoded numbers, the quantization label."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from tests.support.slm1_by_hand import (
    F32,
    Q4_0,
    Q8_0,
    Tensor,
    build,
    model_tensors,
    patch_entry,
    tensor,
)
from tests.support.slm1_refusals import load


def test_model_of_two_layers() -> None:
    """SL-3: names, shapes and header fields arrive in the validated model; wN and attn names map to their roles."""
    tensors = model_tensors(vocab=300, hidden=6, ffn=10, layers=2)
    header = {"vocab_size": 300, "hidden_size": 6, "layer_count": 2, "head_count": 3, "kv_head_count": 3}
    tokenizer = struct.pack("<4s6I", b"BTOK", 1, 300, 256, 257, 258, 259)
    model = load(build(tensors, tokenizer, **header, ffn_size=10, max_context=17))
    roles = {
        "wq": "attn_q",
        "wk": "attn_k",
        "wv": "attn_v",
        "wo": "attn_output",
        "w1": "ffn_gate",
        "w2": "ffn_down",
        "w3": "ffn_up",
        "attn_norm": "attn_norm",
        "ffn_norm": "ffn_norm",
    }
    expected = {
        "token_embd.weight": "tok_embeddings.weight",
        "output_norm.weight": "norm.weight",
        "output.weight": "output.weight",
    } | {
        f"blk.{layer}.{role}.weight": f"layers.{layer}.{stored}.weight"
        for layer in range(2)
        for stored, role in roles.items()
    }
    assert {canonical: weight.name for canonical, weight in model.tensors.items()} == expected
    by_name = {item.name: item for item in tensors}
    for canonical, stored in expected.items():
        weight = model.tensors[canonical]
        source = by_name[stored]
        assert weight.shape == source.dims
        assert weight.type_name == "f32"
        assert weight.quantized() is None
        rows = weight.rows()
        assert rows.dtype == np.float32
        assert rows.shape == source.dims
        assert rows.tobytes() == source.payload
    sizes = model.hyperparameters
    assert (model.container, model.quantization, model.tokenizer.kind) == ("slm1", "f32", "btok")
    assert (sizes.vocab_size, sizes.hidden_size, sizes.layer_count, sizes.ffn_size) == (300, 6, 2, 10)
    assert (sizes.head_count, sizes.kv_head_count, sizes.head_dim, sizes.max_context) == (3, 3, 2, 17)
    assert (sizes.rope.theta, sizes.rms_norm_epsilon) == (10000.0, 2.0**-17)


def rounded(value: float) -> float:
    """Round to float32 by way of the struct module."""
    result: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return result


@pytest.mark.parametrize(("dtype", "block"), [(Q8_0, 8), (Q4_0, 2), (Q4_0, 4), (Q4_0, 8)])
def test_quantised_rows(dtype: int, block: int) -> None:
    """SL-2, FW-1, FW-4: nibble order, sign, the scale of each row or block, and value x scale rounded once."""
    scale_count = 260 * 8 // block
    scales = [rounded(0.1 + 0.037 * i) for i in range(scale_count)]
    if dtype == Q8_0:
        values = [(37 * i) % 256 - 128 for i in range(260 * 8)]
        payload = struct.pack(f"<{len(values)}b", *values)
    else:
        values = [(5 * i) % 16 - 8 for i in range(260 * 8)]
        payload = bytes(
            int(f"{high & 15:x}{low & 15:x}", 16) for low, high in zip(values[::2], values[1::2], strict=True)
        )
    embeddings = Tensor(
        "tok_embeddings.weight", dtype, (260, 8), payload, struct.pack(f"<{scale_count}f", *scales), block
    )
    header = {"hidden_size": 8, "head_dim": 8}
    weight = load(build([embeddings, *model_tensors(hidden=8)[1:]], **header)).tensors["token_embd.weight"]
    expected = [rounded(value * scales[place // block]) for place, value in enumerate(values)]
    assert weight.rows().reshape(-1).tolist() == expected
    assert weight.rows().shape == (260, 8)
    quantized = weight.quantized()
    assert quantized is not None
    assert quantized.values.dtype == np.int8
    assert quantized.values.reshape(-1).tolist() == values
    assert quantized.scales.shape == (260, 8 // block)
    assert quantized.scales.reshape(-1).tolist() == scales
    assert quantized.block_size == block


@pytest.mark.parametrize("dtype", [Q8_0, Q4_0])
def test_quantised_norm_vector_is_one_row(dtype: int) -> None:
    """SL-2, FW-4: a vector has one row of scales, and no matrix form."""
    weight = load(build(model_tensors(dtype))).tensors["output_norm.weight"]
    assert weight.type_name == {Q8_0: "q8_0", Q4_0: "q4_0"}[dtype]
    source = next(item for item in model_tensors(dtype) if item.name == "norm.weight")
    low, high = ((source.payload[0] & 15) ^ 8) - 8, ((source.payload[0] >> 4) ^ 8) - 8
    values = [low, high] if dtype == Q4_0 else list(struct.unpack("<2b", source.payload))
    assert weight.rows().tolist() == [value * 0.25 for value in values]
    assert weight.quantized() is None


def test_overflow_gives_infinity() -> None:
    """SL-2, FW-1: value x scale past the largest float32 is an infinity, not a failure."""
    tensors = model_tensors(Q8_0)
    tensors[0] = Tensor("tok_embeddings.weight", Q8_0, (260, 2), b"\x02\xfe" * 260, struct.pack("<f", 3e38) * 260, 2)
    assert load(build(tensors)).tensors["token_embd.weight"].rows()[0].tolist() == [math.inf, -math.inf]


def test_non_finite_payload_is_accepted() -> None:
    """SL-6: payload values may be NaN or infinite."""
    tensors = model_tensors()
    tensors[0] = Tensor("tok_embeddings.weight", F32, (260, 2), struct.pack("<2f", math.nan, math.inf) * 260)
    row = load(build(tensors)).tensors["token_embd.weight"].rows()[3]
    assert math.isnan(row[0])
    assert row[1] == math.inf


def test_unaligned_payload_and_scales() -> None:
    """SL-6, CL-slm1: payloads and scales may lie anywhere, also at odd addresses, below the data and overlapping."""
    tensors = model_tensors(Q8_0)
    file = build(tensors)
    payload_at = len(file) + 1
    scales_at = payload_at + 2
    file += b"\0\x05\xfb" + struct.pack("<f", 0.5)
    patch_entry(file, "norm.weight", byte_offset=payload_at, scale_offset=scales_at)
    patch_entry(file, "layers.0.wq.weight", byte_offset=payload_at - 2)
    assert load(file).tensors["output_norm.weight"].rows().tolist() == [2.5, -2.5]
    f32 = build() + b"\0" + struct.pack("<2f", 1.5, -2.5)
    patch_entry(f32, "norm.weight", byte_offset=len(f32) - 8)
    assert load(f32).tensors["output_norm.weight"].rows().tolist() == [1.5, -2.5]


@pytest.mark.parametrize(
    ("dtypes", "label"),
    [
        ({}, "f32"),
        ({"tok_embeddings.weight": Q8_0}, "f32"),  # 520 elements against 554
        ({"tok_embeddings.weight": Q8_0, "output.weight": Q8_0}, "q8_0"),
        ({"tok_embeddings.weight": Q4_0, "output.weight": Q4_0}, "q4_0"),
        ({"tok_embeddings.weight": Q8_0, "output.weight": Q4_0}, "q4_0"),  # equal matrices; see below
    ],
)
def test_label_of_mixed_files(dtypes: dict[str, int], label: str) -> None:
    """ST-3, CL-slm1: the label is the dtype with most elements of the tensors that are used."""
    tensors = [
        tensor(item.name, item.dims, dtypes.get(item.name, Q4_0 if label == "q4_0" else F32))
        for item in model_tensors()
    ]
    assert load(build(tensors)).quantization == label


def test_label_ignores_unused_tensors_and_prefers_the_lower_code() -> None:
    """ST-3, CL-slm1: extras do not count; of equally many elements the lower dtype code names the label."""
    big = tensor("an.extra", (100, 100), Q4_0)
    assert load(build([*model_tensors(Q8_0), big])).quantization == "q8_0"
    # Tied, H 2, F 83: embeddings 260 x 2 = 520; the rest 4 x 2 x 2 + 3 x 2 x 83 + 3 x 2 = 520.
    tensors = model_tensors(Q8_0, ffn=83, tied=True)
    tensors[0] = tensor("tok_embeddings.weight", (260, 2), F32)
    assert sum(len(item.payload) for item in tensors[1:]) == 520
    assert load(build(tensors, ffn_size=83, flags=1)).quantization == "f32"
    tensors = model_tensors(F32, ffn=83, tied=True)
    tensors[0] = tensor("tok_embeddings.weight", (260, 2), Q8_0)
    assert load(build(tensors, ffn_size=83, flags=1)).quantization == "f32"
