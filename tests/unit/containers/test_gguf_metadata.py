"""Values of GGUF metadata: every type, typed readers, laziness (GG-3, GG-4)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from refruntime.containers.gguf import GgufMetadata, ValueType, read_gguf
from refruntime.errors import InvalidHeader
from tests.support.gguf_by_hand import (
    ARRAY,
    BOOL,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    array,
    gguf_file,
    key,
    scalar,
    string,
    u32,
    u64,
)


def metadata(*keys: bytes) -> GgufMetadata:
    return read_gguf(gguf_file(keys)).metadata


SCALARS = [
    (U8, 255),
    (I8, -128),
    (U16, 65535),
    (I16, -32768),
    (U32, (1 << 32) - 1),
    (I32, -(1 << 31)),
    (F32, 0.5),
    (STRING, "größe ▁"),
    (U64, (1 << 64) - 1),
    (I64, -(1 << 63)),
    (F64, 0.1),
]


@pytest.mark.parametrize(("kind", "value"), SCALARS)
def test_scalars_of_every_type(kind: int, value: object) -> None:
    """GG-3: each type is read as written, with type and offset."""
    read = metadata(key("k", scalar(kind, value)))
    field = read.fields["k"]
    assert (read["k"], field.type, field.element_type, field.count, field.offset) == (value, kind, None, 1, 24 + 9 + 4)
    assert type(read["k"]) is type(value)


@pytest.mark.parametrize(("stored", "value"), [(0, False), (1, True), (2, True), (255, True)])
def test_every_byte_but_zero_is_true(stored: int, value: bool) -> None:
    """GG-3: llama.cpp takes any non-zero byte as true, alone and in arrays."""
    read = metadata(key("k", scalar(BOOL, stored)), key("a", array(BOOL, [stored, 0])))
    assert read["k"] is value
    found = read["a"]
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.bool_
    assert found.tolist() == [value, False]


@pytest.mark.parametrize(("kind", "value"), [pair for pair in SCALARS if pair[0] != STRING])
def test_arrays_of_numbers(kind: int, value: object) -> None:
    """GG-3: arrays of every number type, of length 0, 1 and 3, with the offset of their first element."""
    for count in (0, 1, 3):
        read = metadata(key("k", array(kind, [value] * count)), key("z", scalar(U8, 1)))
        found, field = read["k"], read.fields["k"]
        assert isinstance(found, np.ndarray)
        assert found.tolist() == [value] * count
        assert (field.type, field.element_type, field.count, field.offset) == (ARRAY, kind, count, 24 + 9 + 16)
        assert read["z"] == 1


def test_arrays_of_strings() -> None:
    """GG-3: strings of any bytes, empty ones, and arrays without any."""
    words = [b"", b"a", "▁".encode(), b"\xff\0", b"x" * 300]
    read = metadata(key("k", array(STRING, words)), key("e", array(STRING, [])), key("z", scalar(U8, 1)))
    assert read.strings("k") == words
    assert read.strings("e") == []
    assert read["k"] == ["", "a", "▁", "\udcff\0", "x" * 300]
    assert read["z"] == 1


READERS: dict[str, tuple[Callable[[GgufMetadata], object], int, object]] = {
    "u32": (lambda m: m.u32("k"), U32, 7),
    "f32": (lambda m: m.f32("k"), F32, 0.25),
    "boolean": (lambda m: m.boolean("k"), BOOL, True),
    "text": (lambda m: m.text("k"), STRING, "word"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(("kind", "value"), [*SCALARS, (BOOL, 1)])
def test_typed_readers_refuse_every_other_type(name: str, kind: int, value: object) -> None:
    """GG-4: a hyper-parameter of another type is refused with 6, as llama.cpp does, not converted."""
    reader, expected, good = READERS[name]
    assert reader(metadata(key("k", scalar(expected, good)))) == good
    if kind != expected:
        with pytest.raises(InvalidHeader, match="wrong type") as caught:
            reader(metadata(key("k", scalar(kind, value))))
        assert (caught.value.expected, caught.value.found) == (ValueType(expected).name, ValueType(kind).name)
    with pytest.raises(InvalidHeader, match="missing") as caught:
        reader(metadata())
    assert caught.value.field == "k"


def test_typed_readers_of_arrays_check_the_element_type() -> None:
    """GG-4: arrays of another element type, and scalars, are refused with 6."""
    read = metadata(key("i", array(I32, [1])), key("f", array(F32, [1.0])), key("s", array(STRING, ["x"])))
    assert read.numbers("i", ValueType.INT32, ValueType.FLOAT32).tolist() == [1]
    assert read.numbers("f", ValueType.INT32, ValueType.FLOAT32).tolist() == [1.0]
    for name in ("f", "s"):
        with pytest.raises(InvalidHeader, match="wrong type"):
            read.numbers(name, ValueType.INT32)
    with pytest.raises(InvalidHeader, match="wrong type"):
        read.strings("i")
    with pytest.raises(InvalidHeader, match="wrong type"):
        metadata(key("k", scalar(I32, 1))).numbers("k", ValueType.INT32)


def test_defaults_serve_absent_keys_only() -> None:
    """GG-4: a default stands for an absent key, never for one of the wrong type."""
    assert metadata().u32("k", 5) == 5
    assert metadata(key("k", scalar(U32, 6))).u32("k", 5) == 6
    with pytest.raises(InvalidHeader, match="wrong type"):
        metadata(key("k", scalar(I32, 6))).u32("k", 5)


def test_values_are_read_when_asked_for() -> None:
    """GG-3: opening remembers where a value lies; its bytes are read at the time of the question."""
    data = bytearray(gguf_file([key("k", scalar(U32, 1)), key("s", array(STRING, ["ab"]))]))
    read = read_gguf(data).metadata
    data[read.fields["k"].offset] = 9
    data[-1:] = b"c"
    assert (read["k"], read["s"]) == (9, ["ac"])


def test_a_string_longer_than_256_bytes_does_not_lead_the_walk_astray() -> None:
    """GG-3: every byte of a length counts."""
    words = ["x" * 255, "y" * 256, "z" * 65536, "", "end"]
    read = metadata(key("k", array(STRING, words)), key("after", scalar(STRING, "here")))
    assert (read["k"], read["after"]) == (words, "here")


def test_messages_about_wild_keys_are_short_and_printable() -> None:
    """GG-3: a key of any bytes and length makes a message of bounded length."""
    wild = b"\xff\n" * 5000
    with pytest.raises(InvalidHeader) as caught:
        read_gguf(gguf_file([string(wild) + u32(99)]))
    text = str(caught.value)
    assert len(text) < 1000
    assert text.isprintable()


def test_gguf_py_reads_the_same(tmp_path: Path) -> None:
    """GG-3: a file written by gguf-py gives the values that gguf-py reads from it, tensors included."""
    path = tmp_path / "file.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.context_length", 128)
    writer.add_float32("llama.rope.freq_base", 12345.678)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_array("numbers", [1, -2, 3])
    writer.add_array("words", ["a", "", "▁b"])
    writer.add_tensor("a.weight", np.arange(12, dtype=np.float32).reshape(3, 4))
    writer.add_tensor("b.weight", np.arange(5, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    theirs, ours = gguf.GGUFReader(path), read_gguf(path.read_bytes())
    keys = [name for name in theirs.fields if not name.startswith("GGUF.")]
    assert keys == list(ours.metadata)
    for name in keys:
        value = ours.metadata[name]
        assert (value.tolist() if isinstance(value, np.ndarray) else value) == theirs.fields[name].contents()
    assert [(t.name, t.data_offset, t.n_bytes, int(t.tensor_type)) for t in theirs.tensors] == [
        (t.name, t.offset, t.byte_length, t.type.number) for t in ours.tensors.values()
    ]


def test_the_walk_over_strings_is_exact_at_the_end_of_the_file() -> None:
    """GG-3: the last string may end with the file, and not one byte later."""
    good = gguf_file([key("k", array(STRING, ["ab", "cde"]))])
    assert read_gguf(good).metadata["k"] == ["ab", "cde"]
    with pytest.raises(InvalidHeader, match="past the end"):
        read_gguf(good[:-1])
    longer = good[: -len(string("cde"))] + u64(4) + b"cde"
    assert len(longer) == len(good)
    with pytest.raises(InvalidHeader, match="past the end") as caught:
        read_gguf(longer)
    assert caught.value.offset == len(good) - len(string("cde"))
    assert struct.unpack_from("<Q", longer, caught.value.offset)[0] == 4
