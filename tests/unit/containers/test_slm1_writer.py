"""The SLM1 writer against the published sizes and against the hand-made builder."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from refruntime.containers.slm1 import read_slm1
from refruntime.containers.slm1_format import DType, Slm1Parameters
from refruntime.containers.slm1_writer import EncodedTensor, with_checksum, write_slm1
from refruntime.contract import Profile
from refruntime.model.slm1.encode import encode_quantized, encode_tensor
from refruntime.model.slm1.model import validate_slm1
from refruntime.tokenizers.btok import BtokTokenizer
from tests.support.slm1_by_hand import BTOK, F32, Q4_0, Q8_0, bpe1, build, header_value, model_tensors, naive_checksum

PROFILE = Profile()
SMALL = Slm1Parameters(
    vocab_size=260,
    hidden_size=2,
    layer_count=1,
    head_count=1,
    kv_head_count=1,
    head_dim=2,
    ffn_size=2,
    max_context=8,
    rope_theta=10000.0,
    rms_norm_epsilon=2.0**-17,
)


@pytest.mark.parametrize("dtype", [F32, Q8_0, Q4_0])
@pytest.mark.parametrize("tied", [False, True])
def test_same_bytes_as_by_hand(dtype: int, tied: bool) -> None:
    """SL-2, SL-5: header, directory, payloads, scales, padding and checksum equal the hand-made file byte for byte."""
    tensors = model_tensors(dtype, tied=tied)
    encoded = [
        EncodedTensor(item.name, DType(item.dtype), item.dims, item.block_size, item.payload, item.scales)
        for item in tensors
    ]
    assert write_slm1(SMALL, BTOK, encoded, PROFILE) == bytes(build(tensors))


@pytest.mark.parametrize(
    ("section", "directory_offset"),
    [
        (bpe1([], [], 261), 192),  # 108 + 36 = 144
        (bpe1([(260, b"abc")], [], 261), 192),  # 108 + 36 + 11 = 155
        (bpe1([], [(97, 98, 99, rank) for rank in range(3)], 261), 192),  # 108 + 36 + 48 = 192, no padding
        (bpe1([(260, b"abcdefghi")], [(97, 98, 99, rank) for rank in range(2)], 261), 256),  # 108 + 36 + 17 + 32 = 193
    ],
)
def test_section_is_padded(section: bytes, directory_offset: int) -> None:
    """SL-1: the directory and the data begin at the next multiple of 64 behind a section of any length."""
    tensors = model_tensors(vocab=261)
    encoded = [
        EncodedTensor(item.name, DType(item.dtype), item.dims, item.block_size, item.payload, item.scales)
        for item in tensors
    ]
    parameters = Slm1Parameters(**{**SMALL.__dict__, "vocab_size": 261})
    file = write_slm1(parameters, section, encoded, PROFILE)
    assert header_value(file, "tensor_directory_offset") == directory_offset
    assert file == bytes(build(tensors, section, vocab_size=261))


PUBLISHED = {DType.F32: 68_194_944, DType.Q8_0: 17_160_000, DType.Q4_0: 10_657_728}


def published_shapes() -> dict[str, tuple[int, ...]]:
    """List the 39 tensors of the published example: V 260, H 512, L 4, F 2048, untied."""
    shapes: dict[str, tuple[int, ...]] = {"tok_embeddings.weight": (260, 512), "output.weight": (260, 512)}
    for layer in range(4):
        shapes |= {f"layers.{layer}.{name}.weight": (512, 512) for name in ("wq", "wk", "wv", "wo")}
        shapes |= {f"layers.{layer}.{name}.weight": (2048, 512) for name in ("w1", "w3")}
        shapes |= {f"layers.{layer}.w2.weight": (512, 2048)}
        shapes |= {f"layers.{layer}.{name}.weight": (512,) for name in ("attn_norm", "ffn_norm")}
    return shapes | {"norm.weight": (512,)}


@pytest.mark.parametrize("dtype", list(DType))
def test_published_sizes(dtype: DType, monkeypatch: pytest.MonkeyPatch) -> None:
    """SL-2, SL-3: the published example has the published size to the byte, directory at 192, data at 2688."""
    # The checksum of 68 MB would take many seconds and changes no size.
    monkeypatch.setattr("refruntime.containers.slm1_writer.slm1_checksum", lambda data, profile: 1)
    shapes = published_shapes()
    assert len(shapes) == 39
    row = np.linspace(-1, 1, 2048, dtype=np.float32)
    tensors = [
        encode_tensor(name, np.ascontiguousarray(np.broadcast_to(row[: shape[-1]], shape)), dtype)
        for name, shape in shapes.items()
    ]
    sizes = {"hidden_size": 512, "layer_count": 4, "head_count": 8, "kv_head_count": 8, "head_dim": 64}
    parameters = Slm1Parameters(**{**SMALL.__dict__, **sizes, "ffn_size": 2048, "max_context": 512})
    file = write_slm1(parameters, BTOK, tensors, PROFILE)
    assert len(file) == PUBLISHED[dtype]
    assert header_value(file, "tensor_directory_offset") == 192
    assert header_value(file, "tensor_data_offset") == 2688
    unchecked = Profile(checksum="not verified")
    model = validate_slm1(read_slm1(file, unchecked), unchecked)
    assert model.quantization == dtype.label
    assert model.tensors["output_norm.weight"].type_name == dtype.label  # norm vectors are quantised too


@pytest.mark.parametrize(
    ("dtype", "largest_error"), [(DType.F32, 0.0), (DType.Q8_0, 0.51 / 127), (DType.Q4_0, 0.51 / 7)]
)
def test_numbers_come_back(dtype: DType, largest_error: float) -> None:
    """SL-2, FW-1: what is written is read within half a quantisation step of the largest magnitude."""
    generator = np.random.default_rng(3)
    sources = {
        item.name: generator.uniform(-1, 1, item.dims).astype(np.float32) for item in model_tensors(hidden=64, ffn=96)
    }
    tensors = [encode_tensor(name, values, dtype) for name, values in sources.items()]
    parameters = Slm1Parameters(**{**SMALL.__dict__, "hidden_size": 64, "head_dim": 64, "ffn_size": 96})
    file = write_slm1(parameters, BtokTokenizer(260).section_bytes(), tensors, PROFILE)
    assert header_value(file, "checksum") == naive_checksum(file)
    for weight in validate_slm1(read_slm1(file, PROFILE), PROFILE).tensors.values():
        assert np.abs(weight.rows() - sources[weight.name]).max() <= largest_error


def test_values_that_are_quantised_already() -> None:
    """SL-2: given values and scales are stored as they are; the block size follows from their shapes."""
    values = np.array([[1, -2, 3, -4], [5, -6, 7, -8]], np.int8)
    scales = np.array([[0.5, 2], [4, 8]], np.float32)
    tensor = encode_quantized("a", (2, 4), DType.Q4_0, values, scales)
    assert tensor == EncodedTensor(
        "a", DType.Q4_0, (2, 4), 2, bytes([0xE1, 0xC3, 0xA5, 0x87]), struct.pack("<4f", 0.5, 2, 4, 8)
    )
    tensor = encode_quantized("a", (2, 4), DType.Q8_0, values, scales[:, :1])
    assert tensor == EncodedTensor(
        "a", DType.Q8_0, (2, 4), 4, struct.pack("<8b", 1, -2, 3, -4, 5, -6, 7, -8), struct.pack("<2f", 0.5, 4)
    )


@pytest.mark.parametrize("shape", [(), (1, 1, 1, 1, 1)])
def test_ranks_that_no_entry_can_hold(shape: tuple[int, ...]) -> None:
    """SL-1: the writer refuses a rank that is not 1..4 instead of storing something else."""
    with pytest.raises(ValueError, match="dimensions"):
        write_slm1(SMALL, BTOK, [EncodedTensor("a", DType.F32, shape, 0, bytes(4), b"")], PROFILE)


def test_checksum_follows_the_profile() -> None:
    """SL-5: a file for a build with another formula is accepted with that formula."""
    profile = Profile(checksum_rotation=11, checksum_order="rotate, mix, multiply")
    file = write_slm1(SMALL, BTOK, [], profile)
    assert header_value(file, "checksum") == naive_checksum(file, rotation=11, order="rotate, mix, multiply")
    assert with_checksum(file, PROFILE) == bytes(build([]))
