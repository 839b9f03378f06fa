"""Header, ranges and checksum of SLM1 files: every check alone, with the code and the place it names."""

from __future__ import annotations

import math
import time

import pytest

from refruntime.containers.slm1 import read_slm1
from refruntime.contract import Profile, Status
from refruntime.errors import (
    InvalidHeader,
    InvalidModelMagic,
    UnsupportedModelVersion,
)
from tests.support.slm1_by_hand import (
    BTOK,
    HEADER_FIELDS,
    Q4_0,
    build,
    entry_offset,
    entry_value,
    fix_checksum,
    fnv1a,
    header_value,
    model_tensors,
    naive_checksum,
    patch_header,
    tensor,
)
from tests.support.slm1_refusals import PROFILE, read, read_refusal


def test_reads_every_header_field_and_entry() -> None:
    """SL-1, SL-2: each field comes from its published offset."""
    numbers = {
        "model_type": 77,
        "flags": 0xFFFFFFFE,
        "vocab_size": 260,
        "special_token_count": 99,
        "hidden_size": 2,
        "layer_count": 3,
        "head_count": 2,
        "kv_head_count": 5,
        "head_dim": 1,
        "ffn_size": 6,
        "max_context": 7,
        "rope_theta": 0.5,
        "rms_norm_epsilon": 0.25,
    }
    extra = tensor("an.extra", (3, 4), Q4_0, block=2)
    file = build([*model_tensors(), extra], **numbers)
    result = read_slm1(memoryview(file), PROFILE)
    for name in HEADER_FIELDS:
        expected = numbers.get(name)
        assert getattr(result.header, name) == (header_value(file, name) if expected is None else expected), name
    assert not result.header.tied
    assert len(result.entries) == 13
    entry = result.entries[-1]
    assert entry == result.entries[12] == result.entries[12:][0]
    assert entry.offset == entry_offset(file, "an.extra")
    assert (entry.name_hash, entry.dtype, entry.rank, entry.shape) == (fnv1a("an.extra"), 3, 2, (3, 4))
    for field in ("byte_offset", "byte_length", "scale_offset", "block_size"):
        assert getattr(entry, field) == entry_value(file, "an.extra", field)
    assert [item.name_hash for item in result.entries] == [fnv1a(item.name) for item in [*model_tensors(), extra]]


def test_tokenizer_section_is_a_view_of_the_file() -> None:
    """SL-7: the section is handed on without a copy."""
    file = build()
    section = read_slm1(memoryview(file), PROFILE).tokenizer_section
    assert bytes(section) == BTOK
    file[108] ^= 0xFF
    assert section[0] == BTOK[0] ^ 0xFF


@pytest.mark.parametrize("length", range(4))
def test_shorter_than_a_magic(length: int) -> None:
    """SL-1: fewer than four bytes give 4."""
    error = read_refusal(b"SLM1"[:length], InvalidModelMagic)
    assert (error.status, error.field, error.offset) == (4, "magic", 0)


@pytest.mark.parametrize("magic", [b"GGUF", b"slm1", b"SLM2", b"\0\0\0\0"])
def test_other_magic(magic: bytes) -> None:
    """SL-1: another magic gives 4 in a file of any length."""
    assert read_refusal(magic, InvalidModelMagic).status == Status.InvalidModelMagic
    assert read_refusal(magic + bytes(build()[4:]), InvalidModelMagic).found == magic


@pytest.mark.parametrize("length", range(4, 108))
def test_short_file_gives_6_whatever_its_version(length: int) -> None:
    """SL-1, CL-slm1: 4 to 107 bytes with the right magic give 6 even with a wrong version."""
    error = read_refusal((b"SLM1" + b"\xff" * 104)[:length], InvalidHeader)
    assert (error.status, error.field, error.offset) == (6, "header", length)


@pytest.mark.parametrize("version", [0, 2, 0xFFFFFFFF])
def test_version(version: int) -> None:
    """SL-1: a version other than 1 gives 5."""
    error = read_refusal(build(version=version), UnsupportedModelVersion)
    assert (error.status, error.field, error.offset, error.expected, error.found) == (5, "version", 4, 1, version)


def header_fault(file: bytearray, field: str, found: object) -> None:
    error = read_refusal(file, InvalidHeader)
    assert (error.status, error.field, error.offset, error.found) == (6, field, HEADER_FIELDS[field][0], found)


@pytest.mark.parametrize("shift", ["zero", "below", "above", "huge"])
def test_header_length(shift: str) -> None:
    """SL-1: header_length lies between 108 and the length of the file."""
    size = len(build())
    value = {"zero": 0, "below": 107, "above": size + 1, "huge": 0xFFFFFFFF}[shift]
    header_fault(build(header_length=value), "header_length", value)


def test_longest_header_length_is_accepted() -> None:
    """SL-1: header_length may equal the length of the file."""
    size = len(build())
    assert read(build(header_length=size)).header.header_length == size


@pytest.mark.parametrize(
    "field",
    ["vocab_size", "hidden_size", "layer_count", "head_count", "kv_head_count", "head_dim", "ffn_size", "max_context"],
)
def test_zero_dimension(field: str) -> None:
    """SL-1: each of the eight dimensions must not be zero."""
    header_fault(build(**{field: 0}), field, 0)


def test_unchecked_header_fields() -> None:
    """SL-1, CL-slm1: model_type, other flag bits and special_token_count may be anything."""
    read(build(model_type=0xFFFFFFFF, flags=0xFFFFFFFE, special_token_count=0))


@pytest.mark.parametrize(
    ("head_count", "head_dim", "hidden_size"), [(1, 3, 2), (2, 2, 2), (65536, 65536, 2), (3, 0x55555556, 2)]
)
def test_heads_fill_the_hidden_vector(head_count: int, head_dim: int, hidden_size: int) -> None:
    """SL-1: head_count x head_dim = hidden_size, without wrapping at 2^32 (the last two products wrap to 0 and 2)."""
    header_fault(build(head_count=head_count, head_dim=head_dim), "hidden_size", hidden_size)


@pytest.mark.parametrize("field", ["rope_theta", "rms_norm_epsilon"])
@pytest.mark.parametrize("value", [0.0, -0.0, -1.0, math.inf, -math.inf, math.nan])
def test_constants_are_finite_and_positive(field: str, value: float) -> None:
    """SL-1: theta and epsilon are finite and greater than zero."""
    error = read_refusal(build(**{field: value}), InvalidHeader)
    assert (error.status, error.field, error.offset) == (6, field, HEADER_FIELDS[field][0])


def test_smallest_constants_are_accepted() -> None:
    """SL-1: the smallest subnormal is finite and positive."""
    header = read(build(rope_theta=2.0**-149, rms_norm_epsilon=2.0**-149)).header
    assert header.rope_theta == header.rms_norm_epsilon == 2.0**-149


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"tokenizer_length": 2**63}, "tokenizer_offset"),
        ({"tokenizer_offset": 2**64 - 4, "tokenizer_length": 8}, "tokenizer_offset"),
        ({"tokenizer_offset": 2**40, "tokenizer_length": 0}, "tokenizer_offset"),
        ({"tensor_directory_offset": 2**64 - 64, "tensor_count": 1}, "tensor_directory_offset"),
        ({"tensor_directory_offset": 2**40, "tensor_count": 0}, "tensor_directory_offset"),
        ({"tensor_count": 0xFFFFFFFF}, "tensor_directory_offset"),
        ({"tensor_data_offset": 2**40}, "tensor_data_offset"),
        ({"tensor_data_offset": 2**64 - 64}, "tensor_data_offset"),
        ({"tensor_data_offset": 63}, "tensor_data_offset"),
        ({"tensor_data_offset": 65}, "tensor_data_offset"),
    ],
)
def test_ranges(values: dict[str, int], field: str) -> None:
    """SL-1, CL-slm1: every range lies inside the file, sums do not wrap at 2^64, the data offset is aligned."""
    error = read_refusal(build(**values), InvalidHeader)
    assert (error.status, error.field, error.offset) == (6, field, HEADER_FIELDS[field][0])


def test_ranges_may_end_with_the_file() -> None:
    """SL-1: a section that ends with the last byte fits; one byte more does not."""
    size = len(build())
    offset = size - len(BTOK)
    read(build(tokenizer_offset=offset))
    header_fault(build(tokenizer_offset=offset + 1), "tokenizer_offset", f"{offset + 1} + {len(BTOK)}")
    read(build(tensor_directory_offset=size, tensor_count=0))
    header_fault(
        build(tensor_directory_offset=size + 1, tensor_count=0), "tensor_directory_offset", f"{size + 1} + 64 x 0"
    )
    assert size % 64 == 0
    read(build(tensor_data_offset=size))
    header_fault(build(tensor_data_offset=size + 64), "tensor_data_offset", size + 64)
    read(build(tensor_data_offset=0))


def test_false_tensor_count_is_refused_at_once() -> None:
    """SL-1: a 1 KB file that claims 2^32 - 1 tensors costs no time and no memory."""
    file = build([])
    file = patch_header(file + bytes(1024 - len(file)), {"tensor_count": 0xFFFFFFFF})
    start = time.process_time()
    error = read_refusal(file, InvalidHeader)
    assert time.process_time() - start < 1
    assert "4294967295" in str(error)


def test_checksum_of_any_changed_byte() -> None:
    """SL-5: a change of any byte that no earlier check looks at is seen by the checksum."""
    good = bytes(build())
    for position in [12, 16, 24, 100, 107, 110, 135, 150, 200, 1000, len(good) - 1]:
        file = bytearray(good)
        file[position] ^= 0x40
        error = read_refusal(file, InvalidHeader)
        assert (error.status, error.rule, error.field, error.offset) == (6, "SL-5", "checksum", 100)
        assert error.expected == f"{naive_checksum(bytes(file)):#018x}"


@pytest.mark.parametrize("verify", ["verified", "not verified"])
def test_zero_checksum(verify: str) -> None:
    """SL-5: a zero checksum is refused even where the formula is unknown."""
    with pytest.raises(InvalidHeader) as caught:
        read(build(checksum=0), Profile(checksum=verify))  # type: ignore[arg-type]
    assert (caught.value.field, caught.value.offset, caught.value.found) == ("checksum", 100, 0)


def test_checksum_that_is_not_verified() -> None:
    """SL-5: with the option `not verified` any other checksum is accepted."""
    file = bytes(build(checksum=12345))
    read_refusal(file, InvalidHeader)
    assert read_slm1(file, Profile(checksum="not verified")).header.checksum == 12345


def test_trailing_bytes_are_part_of_the_checksum() -> None:
    """SL-5: bytes behind the last payload are allowed and are summed."""
    file = build() + b"trailing"
    read_refusal(file, InvalidHeader)
    read(fix_checksum(file))
