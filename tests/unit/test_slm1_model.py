"""What an SLM1 file must hold behind its directory: tokenizer, required tensors, shapes, blocks, scales, heads."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np
import pytest

from refruntime.containers.slm1 import read_slm1
from refruntime.contract import Profile
from refruntime.errors import (
    ContractError,
    InvalidHeader,
    InvalidTensorDirectory,
    MissingTensor,
    ShapeMismatch,
    UnsupportedDType,
    UnsupportedModelVersion,
)
from refruntime.model.slm1 import validate_slm1
from refruntime.model.validated import ValidatedModel
from tests.unit.slm1_by_hand import (
    BTOK,
    ENTRY_FIELDS,
    F32,
    HEADER_FIELDS,
    Q4_0,
    Q8_0,
    Tensor,
    bpe1,
    build,
    entry_offset,
    entry_value,
    fix_checksum,
    model_tensors,
    patch_entry,
    tensor,
)

PROFILE = Profile()
REQUIRED = [item.name for item in model_tensors()]


def load(file: bytes | bytearray) -> ValidatedModel:
    return validate_slm1(read_slm1(bytes(file), PROFILE), PROFILE)


def refusal(file: bytes | bytearray, kind: type[ContractError]) -> ContractError:
    """Load a file that must be refused, and check that the error says where, what was expected and what was found."""
    with pytest.raises(kind) as caught:
        load(file)
    error = caught.value
    assert type(error) is kind
    assert error.rule is not None
    assert error.offset is not None
    assert error.field is not None
    assert error.expected is not None
    assert error.found is not None
    return error


def shape_fault(file: bytearray, name: str, field: str) -> ContractError:
    error = refusal(file, ShapeMismatch)
    entry_field = "dim0" if field == "dims" else field
    assert (error.status, error.tensor, error.field) == (9, name, field)
    assert error.offset == entry_offset(file, name) + ENTRY_FIELDS[entry_field][0]
    return error


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
    assert (sizes.rope_theta, sizes.rms_norm_epsilon) == (10000.0, 2.0**-17)


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
    """SL-6, section 13: payloads and scales may lie anywhere, also at odd addresses, below the data and overlapping."""
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


def test_bpe1_tokenizer_is_chosen_by_its_magic() -> None:
    """SL-9: a BPE1 section makes a BPE1 tokenizer."""
    section = bpe1([(260, b"th"), (261, b"the")], [(116, 104, 260, 0), (260, 101, 261, 1)])
    model = load(build(model_tensors(vocab=262), section, vocab_size=262))
    assert model.tokenizer.kind == "bpe1"
    assert model.tokenizer.encode(b"the") == [256, 261, 257]


@pytest.mark.parametrize("section", [b"", b"BT", b"btok" + BTOK[4:], b"BTOX" + BTOK[4:], bytes(28)])
def test_unknown_tokenizer(section: bytes) -> None:
    """SL-1: a tokenizer section without a known magic gives 6."""
    error = refusal(build(tokenizer=section), InvalidHeader)
    assert (error.status, error.field, error.offset) == (6, "tokenizer magic", 108)


def test_tokenizer_errors_name_the_offset_in_the_file() -> None:
    """SL-7, SL-9: offsets count from the start of the file, not of the section."""
    error = refusal(build(tokenizer=BTOK[:24] + struct.pack("<I", 260)), InvalidHeader)
    assert (error.status, error.rule, error.field, error.offset) == (6, "SL-7", "UNK", 108 + 24)
    section = bpe1([(260, b"")], [])
    error = refusal(build(tokenizer=section, vocab_size=262), InvalidHeader)
    assert (error.status, error.rule, error.field, error.offset) == (6, "SL-9", "byte_length", 108 + 36 + 4)


def test_vocabulary_differs_from_the_header() -> None:
    """SL-7: vocab_size of header and tokenizer must agree."""
    error = refusal(build(vocab_size=261), InvalidHeader)
    assert (error.status, error.field, error.expected, error.found) == (6, "vocab_size", 261, 260)


@pytest.mark.parametrize("name", REQUIRED)
def test_missing_tensor(name: str) -> None:
    """SL-3: each required tensor must be there."""
    error = refusal(build([item for item in model_tensors() if item.name != name]), MissingTensor)
    assert (error.status, error.rule, error.tensor) == (8, "SL-3", name)


def test_missing_layer_is_found_at_once() -> None:
    """SL-3: a header that claims 2^32 - 1 layers is refused at the first absent tensor."""
    error = refusal(build(layer_count=0xFFFFFFFF), MissingTensor)
    assert error.tensor is not None
    assert error.tensor.startswith("layers.1.")


def test_tied_output() -> None:
    """SL-3: output.weight may be absent only when tied; flag bit 0 alone decides."""
    assert "output.weight" not in load(build(model_tensors(tied=True), flags=1)).tensors
    assert refusal(build(model_tensors(tied=True), flags=0xFFFFFFFE), MissingTensor).tensor == "output.weight"


def test_tied_output_ignores_the_tensor() -> None:
    """SL-3, section 13: with the tied flag a present output.weight is an unused extra, whatever its shape."""
    file = build([*model_tensors(tied=True), tensor("output.weight", (7, 3))], flags=1)
    assert "output.weight" not in load(file).tensors


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("dtype", [F32, Q8_0, Q4_0])
def test_shape(name: str, dtype: int) -> None:
    """SL-3: every dimension of every required tensor is checked, and its rank."""
    rank = entry_value(build(), name, "rank")
    for place in range(rank):
        dimension = f"dim{place}"
        good = entry_value(build(model_tensors(dtype)), name, dimension)
        for wrong in (good - 1, good + 1):
            file = patch_entry(build(model_tensors(dtype)), name, **{dimension: wrong})
            shape_fault(file, name, "dims")
    shape_fault(patch_entry(build(model_tensors(dtype)), name, rank=3 - rank), name, "rank")
    shape_fault(patch_entry(build(), name, rank=4), name, "rank")


def test_shape_is_out_in() -> None:
    """SL-3: w1 and w3 are [F, H], w2 is [H, F]; the transposed shapes are refused."""
    header = {"ffn_size": 6}
    good = model_tensors(ffn=6)
    load(build(good, **header))
    for name, dims in (("w1", (2, 6)), ("w2", (6, 2)), ("w3", (2, 6))):
        full = f"layers.0.{name}.weight"
        tensors = [tensor(full, dims) if item.name == full else item for item in good]
        error = shape_fault(build(tensors, **header), full, "dims")
        assert (error.expected, error.found) == ([dims[1], dims[0]], list(dims))


@pytest.mark.parametrize(
    ("dtype", "wrong"),
    [(Q8_0, [0, 1, 5, 7, 12, 2**32 - 1]), (Q4_0, [0, 1, 3, 5, 4, 8, 12, 2**31, 2**32 - 1])],
)
@pytest.mark.parametrize("name", ["layers.0.wq.weight", "norm.weight"])
def test_block_size(dtype: int, wrong: list[int], name: str) -> None:
    """SL-2, SL-6: q8_0 needs the whole row, q4_0 an even divisor of the row; anything else gives 9."""
    header = {"hidden_size": 6, "head_dim": 6}
    for block in wrong:
        file = build(model_tensors(dtype, hidden=6), **header)
        patch_entry(file, name, block_size=block, scale_offset=2**64 - 1)
        error = shape_fault(file, name, "block_size")
        assert error.found == block


@pytest.mark.parametrize("block", [2, 6])
def test_allowed_q4_0_blocks(block: int) -> None:
    """SL-2: every even divisor of the row is a block size of q4_0."""
    tensors = model_tensors(Q4_0, hidden=6)
    tensors[1] = tensor("layers.0.wq.weight", (6, 6), Q4_0, block=block)
    load(build(tensors, hidden_size=6, head_dim=6))


@pytest.mark.parametrize("dtype", [F32, Q8_0, Q4_0])
@pytest.mark.parametrize("change", [-1, 1])
def test_encoded_length(dtype: int, change: int) -> None:
    """SL-6: a payload that fits the file but not the shape gives 9."""
    file = build(model_tensors(dtype))
    length = entry_value(file, "layers.0.wq.weight", "byte_length")
    assert length == {F32: 16, Q8_0: 4, Q4_0: 2}[dtype]
    error = shape_fault(
        patch_entry(file, "layers.0.wq.weight", byte_length=length + change), "layers.0.wq.weight", "byte_length"
    )
    assert (error.expected, error.found) == (length, length + change)


@pytest.mark.parametrize("dtype", [Q8_0, Q4_0])
@pytest.mark.parametrize("scale", [0.0, -0.0, -1.0, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("place", [0, 100, 259])
def test_scales_are_finite_and_positive(dtype: int, scale: float, place: int) -> None:
    """SL-2, SL-6: each scale is checked, the error names the first bad one."""
    file = build(model_tensors(dtype))
    offset = entry_value(file, "output.weight", "scale_offset") + 4 * place
    struct.pack_into("<f", file, offset, scale)
    error = refusal(fix_checksum(file), ShapeMismatch)
    assert (error.status, error.tensor, error.field, error.offset) == (9, "output.weight", "scales", offset)
    assert f"scale {place} of 260" in error.detail


def test_signalling_nan_scale() -> None:
    """SL-6: a signalling NaN is refused like any other, without a warning."""
    file = build(model_tensors(Q8_0))
    struct.pack_into("<I", file, entry_value(file, "norm.weight", "scale_offset"), 0x7F800001)
    assert refusal(fix_checksum(file), ShapeMismatch).field == "scales"


def test_smallest_and_largest_scale() -> None:
    """SL-2: the smallest subnormal and the largest float32 are positive and finite."""
    file = build(model_tensors(Q8_0))
    offset = entry_value(file, "output.weight", "scale_offset")
    struct.pack_into("<2I", file, offset, 0x00000001, 0x7F7FFFFF)
    load(fix_checksum(file))


def test_extra_tensors_are_not_looked_at() -> None:
    """SL-3, SL-6, section 13: block size, length, shape and scales of unknown tensors do not matter."""
    names = [f"extra.{number}" for number in range(4)]
    file = build([*model_tensors(Q8_0), *[tensor(name, (4, 4), Q8_0) for name in names]])
    patch_entry(file, names[0], block_size=3)
    patch_entry(file, names[1], byte_length=1)
    patch_entry(file, names[2], dim0=0, dim1=0)
    struct.pack_into("<f", file, entry_value(file, names[3], "scale_offset"), -1.0)
    model = load(fix_checksum(file))
    assert len(model.tensors) == 12


def test_second_entry_of_a_name_is_ignored() -> None:
    """SL-3: the first entry is used even when only the second would be valid, and the second may be malformed."""
    good = tensor("norm.weight", (2,))
    bad = tensor("norm.weight", (3,))
    rest = [item for item in model_tensors() if item.name != "norm.weight"]
    assert load(build([good, *rest, bad])).tensors["output_norm.weight"].shape == (2,)
    assert refusal(build([bad, *rest, good]), ShapeMismatch).tensor == "norm.weight"


def header_fault(file: bytearray, field: str) -> ContractError:
    error = refusal(file, ShapeMismatch)
    assert (error.status, error.field, error.offset) == (9, field, HEADER_FIELDS[field][0])
    return error


@pytest.mark.parametrize("kv_head_count", [2, 3, 0xFFFFFFFF])
def test_grouped_queries(kv_head_count: int) -> None:
    """SL-1: kv_head_count must equal head_count."""
    assert header_fault(build(kv_head_count=kv_head_count), "kv_head_count").found == kv_head_count


def test_fewer_key_value_heads() -> None:
    """SL-1: a divisor of head_count is refused too."""
    tensors = model_tensors(hidden=4)
    load(build(tensors, hidden_size=4, head_count=2, kv_head_count=2))
    header_fault(build(tensors, hidden_size=4, head_count=2, kv_head_count=1), "kv_head_count")


def test_odd_head() -> None:
    """SL-1: an odd head_dim gives 9."""
    assert header_fault(build(head_count=2, kv_head_count=2, head_dim=1), "head_dim").found == 1


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
    """ST-3, section 13: the label is the dtype with most elements of the tensors that are used."""
    tensors = [
        tensor(item.name, item.dims, dtypes.get(item.name, Q4_0 if label == "q4_0" else F32))
        for item in model_tensors()
    ]
    assert load(build(tensors)).quantization == label


def test_label_ignores_unused_tensors_and_prefers_the_lower_code() -> None:
    """ST-3, section 13: extras do not count; of equally many elements the lower dtype code names the label."""
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


Change = Callable[[bytearray], object]


def set_header(name: str, value: float) -> Change:
    offset, code = HEADER_FIELDS[name]
    return lambda file: struct.pack_into(code, file, offset, value)


def set_entry(tensor_name: str, field: str, value: int) -> Change:
    offset, code = ENTRY_FIELDS[field]
    start = entry_offset(build(model_tensors(Q8_0)), tensor_name)  # where it is before anything is broken
    return lambda file: struct.pack_into(code, file, start + offset, value)


def set_scale(file: bytearray) -> None:
    struct.pack_into("<f", file, entry_value(build(model_tensors(Q8_0)), "norm.weight", "scale_offset"), -1.0)


def odd_head(file: bytearray) -> None:
    for name, value in (("head_count", 2), ("kv_head_count", 2), ("head_dim", 1)):
        set_header(name, value)(file)


ORDER: list[tuple[Change, type[ContractError], str]] = [
    (set_header("version", 2), UnsupportedModelVersion, "version"),
    (set_header("header_length", 2**31), InvalidHeader, "header_length"),
    (set_header("ffn_size", 0), InvalidHeader, "ffn_size"),
    (set_header("head_dim", 3), InvalidHeader, "hidden_size"),
    (set_header("rope_theta", math.nan), InvalidHeader, "rope_theta"),
    (set_header("rms_norm_epsilon", 0.0), InvalidHeader, "rms_norm_epsilon"),
    (set_header("tokenizer_length", 2**40), InvalidHeader, "tokenizer_offset"),
    (set_header("tensor_count", 2**31), InvalidHeader, "tensor_directory_offset"),
    (set_header("tensor_data_offset", 1), InvalidHeader, "tensor_data_offset"),
    (set_header("checksum", 1), InvalidHeader, "checksum"),
    (set_entry("tok_embeddings.weight", "dtype", 9), UnsupportedDType, "dtype"),
    (set_entry("layers.0.wq.weight", "rank", 9), InvalidTensorDirectory, "rank"),
    (set_entry("layers.0.wk.weight", "byte_offset", 2**40), InvalidTensorDirectory, "byte_offset"),
    (set_entry("layers.0.wv.weight", "scale_offset", 2**40), InvalidTensorDirectory, "scale_offset"),
    (lambda file: file.__setitem__(112, 2), InvalidHeader, "version"),  # of the BTOK section
    (set_entry("output.weight", "name_hash", 1), MissingTensor, "tensor_directory"),
    (set_entry("layers.0.w1.weight", "dim0", 3), ShapeMismatch, "dims"),
    (set_scale, ShapeMismatch, "scales"),
    (set_header("kv_head_count", 7), ShapeMismatch, "kv_head_count"),
    (odd_head, ShapeMismatch, "head_dim"),
]
"""Faults in the order in which SL-1 looks for them."""


def test_earlier_fault_wins() -> None:
    """SL-1, SL-6: of every two faults the one that is checked earlier gives the code."""
    good = bytes(build(model_tensors(Q8_0)))
    for early in range(len(ORDER)):
        for late in range(early, len(ORDER)):
            file = bytearray(good)
            ORDER[late][0](file)
            ORDER[early][0](file)
            if ORDER[early][2] != "checksum":
                fix_checksum(file)
                if ORDER[late][2] == "checksum":
                    set_header("checksum", 1)(file)
            _, kind, field = ORDER[early]
            error = refusal(file, kind)
            assert error.field == field, f"{field} and {ORDER[late][2]} together gave {error}"
