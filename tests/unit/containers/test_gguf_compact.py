"""Very many tiny keys and entries are held as places in the file, and read exactly as few of them are."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Sequence

import pytest

from refruntime.battery.malformed.gguf import gguf_files
from refruntime.battery.models.gguf import LlamaShape, llama_model
from refruntime.containers.gguf import GgufFile, read_gguf
from refruntime.errors import ContractError

FILES = list(gguf_files())
PLAIN = llama_model(3, LlamaShape(hidden=8, layers=2, heads=2, kv_heads=2, ffn=12, context=16)).data
MANY = 6000


def text(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def keys(names: Sequence[bytes], value: bytes = struct.pack("<IB", 0, 1)) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(names)) + b"".join(text(name) + value for name in names)


def tensors(names: Sequence[bytes], **changes: tuple[int, int]) -> bytes:
    """Return a file of int8 tensors of one element, aligned to 1; a change is the number of an entry and a value."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(names), 1) + text(b"general.alignment") + struct.pack("<II", 4, 1)
    for number, name in enumerate(names):
        row = {"axes": 1, "size": 1, "type": 24, "offset": number}
        row |= {field: value for field, (place, value) in changes.items() if place == number}
        head += text(name) + struct.pack("<IQIQ", row["axes"], row["size"], row["type"], row["offset"])
    return head + bytes(len(names))


def outcome(data: bytes) -> object:
    """What reading a file gives: the failure with its place, or everything that was read."""
    try:
        file = read_gguf(data)
    except ContractError as error:
        return error.status, str(error), error.offset, error.field, error.tensor
    fields = {
        key: (field.type, field.element_type, field.count, field.offset) for key, field in file.metadata.fields.items()
    }
    return file.version, file.alignment, file.data_offset, fields, dict(file.tensors)


def same_in_both_forms(files: Sequence[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [outcome(data) for data in files]
    for module in ("gguf", "gguf_reader"):
        monkeypatch.setattr(f"refruntime.containers.{module}.COMPACT_FROM", 1)
    found = [outcome(data) for data in files]
    assert [pair for pair in zip(wanted, found, strict=True) if pair[0] != pair[1]] == []


def test_a_part_of_the_corpus_is_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """GG-3, GG-4: statuses, texts and places of failures do not depend on how many entries there are."""
    same_in_both_forms([PLAIN, *(file.data for file in FILES[::8])], monkeypatch)


@pytest.mark.slow
def test_the_whole_corpus_is_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """GG-3, GG-4: every file."""
    same_in_both_forms([PLAIN, *(file.data for file in FILES)], monkeypatch)
    assert len(FILES) > 1000


NAMES = [b"%x" % number for number in range(1, 40)]


@pytest.mark.parametrize(
    "data",
    [
        keys([*NAMES, NAMES[7], NAMES[3]]),
        keys([*NAMES, b"", NAMES[3]]),
        keys([*NAMES, NAMES[3]])[:-3],
        keys(NAMES, struct.pack("<IQ", 8, 2**40)),
        keys(NAMES, struct.pack("<IIQ", 9, 8, 2**40)),
        keys(NAMES, struct.pack("<IIQ", 9, 9, 1)),
        keys(NAMES, struct.pack("<IIQ", 9, 4, 2**61)),
        keys(NAMES, struct.pack("<I", 13) + bytes(4)),
        keys([b"\xff\xfe", *NAMES, b"\xff\xfd"]),
        tensors([*NAMES, NAMES[5]]),
        tensors([*NAMES, NAMES[5] + b"\0x"]),
        tensors([*NAMES, NAMES[5]], type=(20, 4)),
        tensors(NAMES, type=(9, 2)),
        tensors(NAMES, size=(9, 0)),
        tensors(NAMES, size=(9, 2**63)),
        tensors(NAMES, axes=(9, 5)),
        tensors(NAMES, offset=(9, 8)),
        tensors(NAMES, size=(9, 2)),
        tensors(NAMES)[:-1],
        tensors([*NAMES, b"n" * 64, NAMES[5]]),
        tensors(NAMES)[:400],
        tensors(NAMES),
    ],
)
def test_many_are_read_as_few_are(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """GG-3: names that come twice, fields that do not fit, ends of the file; the first of them is told."""
    same_in_both_forms([data], monkeypatch)


def test_a_table_is_a_mapping() -> None:
    """GG-3: what is asked for is read; what is not there is not."""
    names = [b"%x" % number for number in range(MANY)]
    file = read_gguf(tensors(names))
    assert list(file.tensors)[:3] == ["0", "1", "2"]
    assert (len(file.tensors), "1770" in file.tensors, "xyz" in file.tensors) == (MANY, False, False)
    assert (file.tensors["ff"].offset, file.tensors["ff"].byte_length) == (file.data_offset + 255, 1)
    with pytest.raises(KeyError):
        file.tensors["xyz"]
    fields = read_gguf(keys(names)).metadata
    assert (fields["1a"], fields.get("xyz"), len(fields), list(fields)[-1]) == (1, None, MANY, "176f")


@pytest.mark.parametrize("make", [keys, tensors])
def test_tiny_entries_cost_little(make: object) -> None:
    """GG-3: at most three times the memory of the file, and 0.1 s a megabyte (0.3 here, where machines are busy)."""
    data = make([b"%x" % number for number in range(40_000)])  # type: ignore[operator]
    read_gguf(PLAIN)
    began = time.process_time()
    file: GgufFile = read_gguf(data)
    assert time.process_time() - began < 0.3e-6 * len(data)
    assert len(file.tensors) + len(file.metadata) >= 40_000
    del file
    tracemalloc.start()
    try:
        kept = read_gguf(data)
        assert kept.version == 3
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data)
    finally:
        tracemalloc.stop()
