"""What an SLM1 file must hold behind its directory: tokenizer, tensors, shapes, blocks, scales, heads."""

from __future__ import annotations

import math
import struct

import pytest

from refruntime.errors import (
    ContractError,
    InvalidHeader,
    MissingTensor,
    ShapeMismatch,
)
from tests.support.slm1_by_hand import (
    BTOK,
    ENTRY_FIELDS,
    F32,
    HEADER_FIELDS,
    Q4_0,
    Q8_0,
    bpe1,
    build,
    entry_offset,
    entry_value,
    fix_checksum,
    model_tensors,
    patch_entry,
    tensor,
)
from tests.support.slm1_refusals import load, load_refusal

REQUIRED = [item.name for item in model_tensors()]


def shape_fault(file: bytearray, name: str, field: str) -> ContractError:
    error = load_refusal(file, ShapeMismatch)
    entry_field = "dim0" if field == "dims" else field
    assert (error.status, error.tensor, error.field) == (9, name, field)
    assert error.offset == entry_offset(file, name) + ENTRY_FIELDS[entry_field][0]
    return error


def test_bpe1_tokenizer_is_chosen_by_its_magic() -> None:
    """SL-9: a BPE1 section makes a BPE1 tokenizer."""
    section = bpe1([(260, b"th"), (261, b"the")], [(116, 104, 260, 0), (260, 101, 261, 1)])
    model = load(build(model_tensors(vocab=262), section, vocab_size=262))
    assert model.tokenizer.kind == "bpe1"
    assert model.tokenizer.encode(b"the") == [256, 261, 257]


@pytest.mark.parametrize("section", [b"", b"BT", b"btok" + BTOK[4:], b"BTOX" + BTOK[4:], bytes(28)])
def test_unknown_tokenizer(section: bytes) -> None:
    """SL-1: a tokenizer section without a known magic gives 6."""
    error = load_refusal(build(None, section), InvalidHeader)
    assert (error.status, error.field, error.offset) == (6, "tokenizer magic", 108)


def test_tokenizer_errors_name_the_offset_in_the_file() -> None:
    """SL-7, SL-9: offsets count from the start of the file, not of the section."""
    error = load_refusal(build(None, BTOK[:24] + struct.pack("<I", 260)), InvalidHeader)
    assert (error.status, error.rule, error.field, error.offset) == (6, "SL-7", "UNK", 108 + 24)
    section = bpe1([(260, b"")], [])
    error = load_refusal(build(None, section, vocab_size=262), InvalidHeader)
    assert (error.status, error.rule, error.field, error.offset) == (6, "SL-9", "byte_length", 108 + 36 + 4)


def test_vocabulary_differs_from_the_header() -> None:
    """SL-7: vocab_size of header and tokenizer must agree."""
    error = load_refusal(build(vocab_size=261), InvalidHeader)
    assert (error.status, error.field, error.expected, error.found) == (6, "vocab_size", 261, 260)


@pytest.mark.parametrize("name", REQUIRED)
def test_missing_tensor(name: str) -> None:
    """SL-3: each required tensor must be there."""
    error = load_refusal(build([item for item in model_tensors() if item.name != name]), MissingTensor)
    assert (error.status, error.rule, error.tensor) == (8, "SL-3", name)


def test_missing_layer_is_found_at_once() -> None:
    """SL-3: a header that claims 2^32 - 1 layers is refused at the first absent tensor."""
    error = load_refusal(build(layer_count=0xFFFFFFFF), MissingTensor)
    assert error.tensor is not None
    assert error.tensor.startswith("layers.1.")


def test_tied_output() -> None:
    """SL-3: output.weight may be absent only when tied; flag bit 0 alone decides."""
    assert "output.weight" not in load(build(model_tensors(tied=True), flags=1)).tensors
    assert load_refusal(build(model_tensors(tied=True), flags=0xFFFFFFFE), MissingTensor).tensor == "output.weight"


def test_tied_output_ignores_the_tensor() -> None:
    """SL-3, CL-slm1: with the tied flag a present output.weight is an unused extra, whatever its shape."""
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
        patch_entry(file, name, block_size=block, scale_offset=len(file) - 1)
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
    error = load_refusal(fix_checksum(file), ShapeMismatch)
    assert (error.status, error.tensor, error.field, error.offset) == (9, "output.weight", "scales", offset)
    assert f"scale {place} of 260" in error.detail


def test_signalling_nan_scale() -> None:
    """SL-6: a signalling NaN is refused like any other, without a warning."""
    file = build(model_tensors(Q8_0))
    struct.pack_into("<I", file, entry_value(file, "norm.weight", "scale_offset"), 0x7F800001)
    assert load_refusal(fix_checksum(file), ShapeMismatch).field == "scales"


def test_smallest_and_largest_scale() -> None:
    """SL-2: the smallest subnormal and the largest float32 are positive and finite."""
    file = build(model_tensors(Q8_0))
    offset = entry_value(file, "output.weight", "scale_offset")
    struct.pack_into("<2I", file, offset, 0x00000001, 0x7F7FFFFF)
    load(fix_checksum(file))


def test_extra_tensors_are_not_looked_at() -> None:
    """SL-3, SL-6, CL-slm1: block size, length, shape and scales of unknown tensors do not matter."""
    names = [f"extra.{number}" for number in range(6)]
    file = build([*model_tensors(Q8_0), *[tensor(name, (4, 4), Q8_0) for name in names]])
    patch_entry(file, names[0], block_size=3)
    patch_entry(file, names[1], byte_length=1)
    patch_entry(file, names[2], dim0=0, dim1=0)
    patch_entry(file, names[4], dim1=0, block_size=0)
    patch_entry(file, names[5], dtype=Q4_0, block_size=0)
    struct.pack_into("<f", file, entry_value(file, names[3], "scale_offset"), -1.0)
    model = load(fix_checksum(file))
    assert len(model.tensors) == 12


def test_second_entry_of_a_name_is_ignored() -> None:
    """SL-3: the first entry is used even when only the second would be valid, and the second may be malformed."""
    good = tensor("norm.weight", (2,))
    bad = tensor("norm.weight", (3,))
    rest = [item for item in model_tensors() if item.name != "norm.weight"]
    assert load(build([good, *rest, bad])).tensors["output_norm.weight"].shape == (2,)
    assert load_refusal(build([bad, *rest, good]), ShapeMismatch).tensor == "norm.weight"


def header_fault(file: bytearray, field: str) -> ContractError:
    error = load_refusal(file, ShapeMismatch)
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
