"""Every structural check of a GGUF file (GG-1, GG-2, GG-3, section 13 "GGUF"), each with a file that breaks only it."""

from __future__ import annotations

import struct

import pytest

from refruntime.containers.gguf import read_gguf
from refruntime.errors import (
    ContractError,
    InvalidHeader,
    InvalidModelMagic,
    InvalidTensorDirectory,
    UnsupportedDType,
    UnsupportedModelVersion,
)
from tests.support.gguf_by_hand import (
    ARRAY,
    BOOL,
    STRING,
    U8,
    U32,
    U64,
    array,
    gguf_file,
    header,
    key,
    scalar,
    string,
    tensor,
    u32,
    u64,
)

ONE = key("a", scalar(U32, 7))
HEAD = 24


def with_keys(*keys: bytes) -> bytes:
    return gguf_file(keys)


def with_tensors(*tensors: bytes, data: bytes = bytes(64)) -> bytes:
    return gguf_file([], tensors, data)


HEADER_FAULTS = {
    "empty file": (b"", InvalidModelMagic, "not a GGUF"),
    "three bytes": (b"GGU", InvalidModelMagic, "not a GGUF"),
    "other magic": (header(0, 0, magic=b"GGUE"), InvalidModelMagic, "not a GGUF"),
    "magic of big-endian files": (header(0, 0, magic=b"FUGG"), InvalidModelMagic, "not a GGUF"),
    "magic alone": (b"GGUF", InvalidHeader, "inside the header"),
    "half a version": (b"GGUF\3\0\0", InvalidHeader, "inside the header"),
    "version 0": (header(0, 0, version=0), UnsupportedModelVersion, "version"),
    "version 1": (header(0, 0, version=1), UnsupportedModelVersion, "version"),
    "version 4": (header(0, 0, version=4), UnsupportedModelVersion, "version"),
    "big-endian version 3": (header(0, 0, version=3 << 24), UnsupportedModelVersion, "version"),
    "bad version, only 8 bytes": (b"GGUF" + u32(1), UnsupportedModelVersion, "version"),
    "good version, only 8 bytes": (b"GGUF" + u32(3), InvalidHeader, "inside the header"),
    "23 bytes": (header(0, 0)[:23], InvalidHeader, "inside the header"),
    "one tensor, no bytes": (header(1, 0), InvalidHeader, "count"),
    "one key, no bytes": (header(0, 1), InvalidHeader, "count"),
    "tensor count above the rest": (header(41, 0) + bytes(40), InvalidHeader, "count"),
    "key count above the rest": (header(0, 41) + bytes(40), InvalidHeader, "count"),
    "2^60 tensors": (header(1 << 60, 0) + bytes(1000), InvalidHeader, "count"),
    "negative tensor count": (header((1 << 64) - 1, 0) + bytes(1000), InvalidHeader, "count"),
    "2^60 keys": (header(0, 1 << 60) + bytes(1000), InvalidHeader, "count"),
    "negative key count": (header(0, 1 << 63) + bytes(1000), InvalidHeader, "count"),
}

# file, words of the message, field, offset
METADATA_FAULTS = {
    "key length cut": (header(0, 1) + bytes(7), "inside a number", "key 0", HEAD),
    "key cut": (header(0, 1) + u64(3) + b"ab", "past the end", "key 0", HEAD),
    "key longer than 2^30": (header(0, 1) + u64((1 << 30) + 1) + b"ab", "too long", "key 0", HEAD),
    "negative key length": (header(0, 1) + u64((1 << 64) - 1) + b"ab", "too long", "key 0", HEAD),
    "empty key": (with_keys(key("", scalar(U8, 0))), "empty", "key 0", HEAD),
    "key twice": (with_keys(ONE, key("b", scalar(U8, 0)), ONE), "twice", "key 2", HEAD + 17 + 14),
    "type cut": (header(0, 1) + string("a") + bytes(3), "inside a number", "a type", HEAD + 9),
    "unknown type": (with_keys(key("a", u32(13) + bytes(8))), "unknown metadata value type", "a type", HEAD + 9),
    "type 2^31": (with_keys(key("a", u32(1 << 31) + bytes(8))), "unknown metadata value type", "a type", HEAD + 9),
    "number cut": (header(0, 1) + string("a") + u32(U32) + bytes(3), "past the end", "a value", HEAD + 13),
    "text cut": (header(0, 1) + string("a") + u32(STRING) + u64(3) + b"ab", "past the end", "a string 0", HEAD + 13),
    "text length cut": (header(0, 1) + string("a") + u32(STRING) + bytes(7), "array of strings", "a value", HEAD + 13),
    "text longer than 2^30": (
        with_keys(key("a", u32(STRING) + u64((1 << 30) + 1) + bytes(9))),
        "too long",
        "a string 0",
        HEAD + 13,
    ),
    "text length 2^64 - 1": (
        with_keys(key("a", u32(STRING) + u64((1 << 64) - 1) + bytes(9))),
        "too long",
        "a string 0",
        HEAD + 13,
    ),
    "element type cut": (header(0, 1) + string("a") + u32(ARRAY) + bytes(3), "inside a number", "element", HEAD + 13),
    "unknown element type": (with_keys(key("a", u32(ARRAY) + u32(13) + u64(0))), "unknown", "element type", HEAD + 13),
    "array of arrays": (
        with_keys(key("a", u32(ARRAY) + u32(ARRAY) + u64(1) + u32(U8) + u64(0))),
        "arrays of arrays",
        "element type",
        HEAD + 13,
    ),
    "empty array of arrays": (with_keys(key("a", u32(ARRAY) + u32(ARRAY) + u64(0))), "arrays of", "element", HEAD + 13),
    "array length cut": (header(0, 1) + string("a") + u32(ARRAY) + u32(U8) + bytes(7), "inside a", "length", HEAD + 17),
    "array longer than 2^30": (with_keys(key("a", array(U8, [], (1 << 30) + 1))), "too long", "length", HEAD + 17),
    "negative array length": (with_keys(key("a", array(U8, [], 1 << 63))), "too long", "array length", HEAD + 17),
    "array one byte short": (with_keys(key("a", array(U64, [1, 2])))[:-1], "past the end", "a value", HEAD + 25),
    "2^30 numbers": (with_keys(key("a", array(U64, [], 1 << 30))), "past the end", "a value", HEAD + 25),
    "2^30 strings": (with_keys(key("a", array(STRING, [], 1 << 30))), "array of strings", "a value", HEAD + 25),
    "one string too few": (
        with_keys(key("a", array(STRING, ["xyzxyzxyz"], 2))),
        "inside a number",
        "a string 1",
        HEAD + 42,
    ),
    "a string of the array too long": (
        with_keys(key("a", u32(ARRAY) + u32(STRING) + u64(2) + string("xyz") + u64(4) + b"abc")),
        "past the end",
        "a string 1",
        HEAD + 36,
    ),
    "a string of the array 2^63 long": (
        with_keys(key("a", u32(ARRAY) + u32(STRING) + u64(2) + string("xyz") + u64(1 << 63) + b"abc")),
        "too long",
        "a string 1",
        HEAD + 36,
    ),
    "count runs beyond the keys": (header(0, 2) + ONE, "inside a number", "key 1", HEAD + 17),
    "alignment 0": (with_keys(key("general.alignment", scalar(U32, 0))), "power of two", "general.alignment", 24 + 29),
    "alignment 24": (with_keys(key("general.alignment", scalar(U32, 24))), "power of two", "general.alignment", 53),
    "alignment as u64": (with_keys(key("general.alignment", scalar(U64, 32))), "wrong type", "general.alignment", 53),
    "alignment as array": (with_keys(key("general.alignment", array(U32, [32]))), "wrong type", "alignment", 65),
    "alignment as bool": (with_keys(key("general.alignment", scalar(BOOL, 1))), "wrong type", "general.alignment", 53),
}

F32_ENTRY = 8 + 1 + 4 + 8 + 4 + 8  # name `a`, one dimension
GOOD = tensor("a", [8], 0, 0)
SECOND = HEAD + F32_ENTRY  # where the second entry starts

DIRECTORY_FAULTS = {
    "name length cut": (header(1, 0) + bytes(7), "inside a number", "name", HEAD),
    "name cut": (header(1, 0) + u64(3) + b"ab", "past the end", "name", HEAD),
    "name of 64 bytes": (with_tensors(tensor("x" * 64, [8])), "too long", "name", HEAD),
    "name longer than 2^30": (with_tensors(u64((1 << 30) + 1) + bytes(40)), "too long", "name", HEAD),
    "name twice": (with_tensors(GOOD, tensor("a", [8], 0, 32)), "twice", "name", HEAD + F32_ENTRY),
    "names equal up to NUL": (with_tensors(GOOD, tensor(b"a\0b", [8], 0, 32)), "twice", "name", HEAD + F32_ENTRY),
    "dimension count cut": (header(1, 0) + string("a") + bytes(3), "inside a number", "dimensions", HEAD + 9),
    "no dimension": (with_tensors(tensor("a", [])), "number of dimensions", "dimensions", HEAD + 9),
    "five dimensions": (with_tensors(tensor("a", [1, 1, 1, 1, 1])), "number of dimensions", "dimensions", HEAD + 9),
    "2^32 - 1 dimensions": (with_tensors(tensor("a", [8], 0, 0, (1 << 32) - 1)), "number of", "dimensions", HEAD + 9),
    "dimension cut": (header(1, 0) + string("a") + u32(1) + bytes(7), "inside a number", "dimension 0", HEAD + 13),
    "zero dimension": (with_tensors(tensor("a", [0])), "zero", "dimension 0", HEAD + 13),
    "zero last dimension": (with_tensors(tensor("a", [8, 0])), "zero", "dimension 1", HEAD + 21),
    "negative dimension": (with_tensors(tensor("a", [1 << 63])), "negative", "dimension 0", HEAD + 13),
    "product overflows": (with_tensors(tensor("a", [1 << 32, 1 << 31])), "too large", "dimension 1", HEAD + 21),
    "product wraps to a small number": (
        with_tensors(tensor("a", [1 << 32, 1 << 32, 1])),
        "too large",
        "dimension 1",
        HEAD + 21,
    ),
    "type cut": (header(1, 0) + string("a") + u32(1) + u64(8) + bytes(3), "inside a number", "type", HEAD + 21),
    "row of half a block": (with_tensors(tensor("a", [16], 8)), "multiple of the block", "dimension 0", HEAD + 13),
    "row of 33": (with_tensors(tensor("a", [33, 32], 2)), "multiple of the block", "dimension 0", HEAD + 13),
    "offset cut": (header(1, 0) + GOOD[:-1], "inside a number", "offset", HEAD + 25),
    "count runs into the data": (header(2, 0) + GOOD + bytes(31), "past the end|inside|number of|zero", None, None),
    "first offset not zero": (with_tensors(tensor("a", [8], 0, 32)), "does not follow", "offset", HEAD),
    "offset not aligned": (with_tensors(GOOD, tensor("b", [8], 0, 33)), "does not follow", "offset", SECOND),
    "gap": (with_tensors(GOOD, tensor("b", [8], 0, 64), data=bytes(96)), "does not follow", "offset", SECOND),
    "overlap": (with_tensors(GOOD, tensor("b", [8], 0, 0)), "does not follow", "offset", SECOND),
    "negative offset": (with_tensors(tensor("a", [8], 0, (1 << 64) - 32)), "does not follow", "offset", HEAD),
    "data one byte short": (with_tensors(GOOD, data=bytes(31)), "past the end", None, 64),
    "second tensor short": (with_tensors(GOOD, tensor("b", [8], 0, 32), data=bytes(63)), "past the end", None, 128),
    "no padding before the data": (header(1, 0) + GOOD, "past the end", None, 64),
    "huge tensor": (with_tensors(tensor("a", [1 << 40, 1 << 20])), "past the end", None, 96),
}

REMOVED = {4: "q4_2", 5: "q4_3", 31: "q4_0_4_4", 32: "q4_0_4_8", 33: "q4_0_8_8", 36: "iq4_nl_4_4", 37: "iq4_nl_4_8"}
INTERMEDIATE = {9: "q8_1", 15: "q8_k"}


@pytest.mark.parametrize("name", HEADER_FAULTS)
def test_a_broken_header_gives_its_code(name: str) -> None:
    """GG-1, GG-2, section 13 GGUF: magic 4, version 5 even in 8 bytes, short header 6, counts above the rest 6."""
    data, error, words = HEADER_FAULTS[name]
    with pytest.raises(error, match=words) as caught:
        read_gguf(data)
    assert type(caught.value) is error
    assert (caught.value.offset, caught.value.field) in [
        (0, "magic"),
        (4, "version"),
        (8, "tensor_count"),
        (16, "key_count"),
        (len(data), "header"),
    ]


@pytest.mark.parametrize("name", METADATA_FAULTS)
def test_broken_metadata_gives_6_and_says_where(name: str) -> None:
    """GG-3: every fault of the key/value section gives 6 with field and offset."""
    data, words, field, offset = METADATA_FAULTS[name]
    with pytest.raises(InvalidHeader, match=words) as caught:
        read_gguf(data)
    assert field in (caught.value.field or "")
    assert caught.value.offset == offset


@pytest.mark.parametrize("name", DIRECTORY_FAULTS)
def test_a_broken_tensor_entry_gives_7_and_says_where(name: str) -> None:
    """GG-3, section 13 GGUF: every fault of an entry or range gives 7 with tensor, field and offset."""
    data, words, field, offset = DIRECTORY_FAULTS[name]
    with pytest.raises(InvalidTensorDirectory, match=words) as caught:
        read_gguf(data)
    if field is not None:
        assert field in (caught.value.field or "")
    if offset is not None:
        assert caught.value.offset == offset
    assert caught.value.tensor is not None


@pytest.mark.parametrize(("number", "name"), [*REMOVED.items(), *INTERMEDIATE.items()])
def test_removed_and_intermediate_types_give_10_by_name(number: int, name: str) -> None:
    """GG-3: a tensor type that was removed from ggml, or that no weights are stored in, gives 10 and says so."""
    with pytest.raises(UnsupportedDType) as caught:
        read_gguf(with_tensors(tensor("a", [256], number), data=bytes(4096)))
    assert (caught.value.found, caught.value.offset) == (f"{number} ({name})", HEAD + 21)
    assert ("removed" in caught.value.detail) == (number in REMOVED)
    assert ("intermediate" in caught.value.detail) == (number in INTERMEDIATE)


@pytest.mark.parametrize("number", [43, 1000, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
def test_unknown_types_give_10(number: int) -> None:
    """GG-3: a tensor type that ggml does not know gives 10."""
    with pytest.raises(UnsupportedDType, match="unknown"):
        read_gguf(with_tensors(tensor("a", [8], number)))


@pytest.mark.parametrize(("number", "name"), [(36, "i2_s of bitnet.cpp"), (142, "pq2_0 of"), (143, "ptq1_0 of")])
def test_types_of_forks_give_10_and_are_named(number: int, name: str) -> None:
    """GG-3: a number that a fork gave to a type of its own is refused, and people are told what the file may hold."""
    with pytest.raises(UnsupportedDType, match=f"it may be {name}") as caught:
        read_gguf(with_tensors(tensor("a", [256], number), data=bytes(4096)))
    assert str(number) in str(caught.value.found)


BAD_KEY, BAD_ENTRY, BAD_TYPE = key("", scalar(U8, 0)), tensor("z", [0]), tensor("z", [8], 99)
ORDER = {
    "magic before version": (header(9, 9, version=9, magic=b"XXXX"), InvalidModelMagic),
    "version before the rest of the header": (header(9, 9, version=9)[:20], UnsupportedModelVersion),
    "version before counts": (header(1 << 60, 1 << 60, version=9), UnsupportedModelVersion),
    "counts before metadata": (header(1 << 60, 1) + BAD_KEY, InvalidHeader),
    "metadata before entries": (header(1, 1) + BAD_KEY + BAD_TYPE, InvalidHeader),
    "alignment before entries": (gguf_file([key("general.alignment", scalar(U32, 3))], [BAD_TYPE]), InvalidHeader),
    "first entry before second (7, 10)": (with_tensors(BAD_ENTRY, BAD_TYPE), InvalidTensorDirectory),
    "first entry before second (10, 7)": (with_tensors(BAD_TYPE, BAD_ENTRY), UnsupportedDType),
    "dimensions before type": (with_tensors(tensor("a", [0], 99)), InvalidTensorDirectory),
    "overflow before type": (with_tensors(tensor("a", [1 << 62, 4], 99)), InvalidTensorDirectory),
    "name before type": (with_tensors(tensor("x" * 64, [8], 99)), InvalidTensorDirectory),
    "type before block": (with_tensors(tensor("a", [1], 9)), UnsupportedDType),
    "all entries before offsets": (with_tensors(tensor("a", [8], 0, 5), BAD_TYPE), UnsupportedDType),
    "all entries before ranges": (with_tensors(tensor("a", [1 << 40]), BAD_TYPE), UnsupportedDType),
}


@pytest.mark.parametrize("name", ORDER)
def test_the_first_of_two_faults_decides(name: str) -> None:
    """Section 13 GGUF: order of checks, as llama.cpp's reader meets them."""
    data, error = ORDER[name]
    with pytest.raises(ContractError) as caught:
        read_gguf(data)
    assert type(caught.value) is error


def test_a_count_within_the_rest_that_runs_into_the_data_gives_7() -> None:
    """Section 13 GGUF: a tensor count above the bytes that remain gives 6, a smaller wrong one 7."""
    entry = with_tensors(GOOD)
    for count in range(2, len(entry) - HEAD + 1):
        with pytest.raises(InvalidTensorDirectory):
            read_gguf(header(count, 0) + entry[HEAD:])
    with pytest.raises(InvalidHeader):
        read_gguf(header(len(entry) - HEAD + 1, 0) + entry[HEAD:])


@pytest.mark.parametrize("version", [2, 3])
def test_a_good_file_is_read_as_written(version: int) -> None:
    """GG-2, GG-3: versions 2 and 3; positions, shapes and lengths as written by hand."""
    numbers = struct.pack("<16f", *range(16))
    tensors = [tensor("m", [4, 2, 2], 0, 0), tensor("q", [32], 8, 64), tensor("", [2, 1], 1, 128)]
    data = numbers + bytes(34 + 30) + b"\0\x3c\0\x40"  # the padding behind the last tensor is missing
    file = read_gguf(gguf_file([ONE], tensors, data, version=version))
    start = file.data_offset
    assert (file.version, file.alignment, start % 32) == (version, 32, 0)
    found = [(t.name, t.type.name, t.dimensions, t.shape, t.offset, t.byte_length) for t in file.tensors.values()]
    assert found == [
        ("m", "f32", (4, 2, 2), (2, 2, 4), start, 64),
        ("q", "q8_0", (32,), (32,), start + 64, 34),
        ("", "f16", (2, 1), (1, 2), start + 128, 4),
    ]
    assert bytes(file.tensor_bytes(file.tensors["m"])) == numbers


@pytest.mark.parametrize("alignment", [1, 2, 8, 64, 4096])
def test_the_alignment_of_the_file_rules_offsets_and_data(alignment: int) -> None:
    """GG-3: `general.alignment` places the data and every tensor."""
    step = -(-12 // alignment) * alignment
    keys = [key("general.alignment", scalar(U32, alignment))]
    tensors = [tensor("a", [3], 0, 0), tensor("b", [3], 0, step)]
    data = bytes(step) + struct.pack("<3f", 1, 2, 3)
    file = read_gguf(gguf_file(keys, tensors, data, alignment=alignment))
    assert (file.alignment, file.data_offset % alignment) == (alignment, 0)
    assert bytes(file.tensor_bytes(file.tensors["b"])) == struct.pack("<3f", 1, 2, 3)


def test_a_file_without_tensors_needs_no_padding_and_no_data() -> None:
    """GG-3: 24 bytes are a file; without tensors the data section starts right behind the keys, as in llama.cpp."""
    assert read_gguf(header(0, 0)).data_offset == 24
    file = read_gguf(with_keys(ONE))
    assert (file.data_offset, dict(file.metadata), dict(file.tensors)) == (24 + 17, {"a": 7}, {})


def test_a_name_of_63_bytes_is_allowed() -> None:
    """GG-3: tensor names stay below 64 bytes."""
    assert list(read_gguf(with_tensors(tensor("x" * 63, [8]))).tensors) == ["x" * 63]


def test_names_that_are_not_utf8_stay_distinct_and_printable() -> None:
    """GG-3: names are bytes; two that differ only in invalid UTF-8 are two, and messages stay printable."""
    file = read_gguf(with_tensors(tensor(b"\xff", [8]), tensor(b"\xfe", [8], 0, 32)))
    assert len(file.tensors) == 2
    with pytest.raises(InvalidTensorDirectory) as caught:
        read_gguf(with_tensors(tensor(b"\xff", [0])))
    assert str(caught.value).encode("ascii")
