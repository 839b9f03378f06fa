"""Hostile GGUF files: any bytes give a leaf of the error tree, in bounded time and memory (GG-3)."""

from __future__ import annotations

import mmap
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime.containers.gguf import read_gguf
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.errors import ContractError
from refruntime.model.gguf.model import validate_gguf
from tests.support.gguf_by_hand import (
    ARRAY,
    STRING,
    U8,
    U32,
    array,
    gguf_file,
    header,
    key,
    llama_file,
    tensor,
    u32,
    u64,
)

MODEL = llama_file()
DIRECTORY = (Status.InvalidTensorDirectory, Status.UnsupportedDType)
ENTRIES_END = read_gguf(MODEL).data_offset


def load(data: bytes) -> None:
    """Parse and validate, then touch every value and weight."""
    file = read_gguf(data)
    dict(file.metadata)
    model = validate_gguf(file, Profile())
    for weight in model.tensors.values():
        weight.rows()
    model.tokenizer.encode(b"hi hi")


def failure_of(action: Callable[[], object]) -> ContractError | None:
    """Run the action; return its expected failure, let every other exception through."""
    try:
        action()
    except ContractError as failure:
        return failure
    return None


def test_every_prefix_of_a_model_is_refused() -> None:
    """GG-3: a file cut anywhere fails as an expected failure, never as an accident; whole it loads."""
    load(MODEL)
    last = max(tensor.offset + tensor.byte_length for tensor in read_gguf(MODEL).tensors.values())
    for end in [*range(ENTRIES_END), *range(ENTRIES_END, last, 61), last - 1]:
        with pytest.raises(ContractError):
            load(MODEL[:end])
    load(MODEL[:last])


@settings(max_examples=400, deadline=2000)
@given(st.lists(st.tuples(st.integers(0, ENTRIES_END - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_give_a_model_or_an_expected_failure(changes: list[tuple[int, int]]) -> None:
    """GG-3, GG-4: any change of header, metadata or entries either loads or raises a leaf of the error tree."""
    data = bytearray(MODEL)
    for position, value in changes:
        data[position] = value
    failure = failure_of(lambda: load(bytes(data)))
    assert failure is None or (failure.status and str(failure).isprintable())


@settings(max_examples=200, deadline=2000)
@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 200))
def test_random_bytes_behind_a_header(rest: bytes, tensors: int, keys: int) -> None:
    """GG-3: random bytes behind a good magic and version never crash the reader."""
    failure = failure_of(lambda: read_gguf(header(tensors, keys) + rest))
    assert failure is None or failure.status in (Status.InvalidHeader, *DIRECTORY)


CLAIMS = {
    "2^60 tensors": header(1 << 60, 0) + bytes(1000),
    "2^60 keys": header(0, 1 << 60) + bytes(1000),
    "2^30 strings": header(0, 1) + key("a", u32(ARRAY) + u32(STRING) + u64(1 << 30)) + bytes(900),
    "2^30 numbers": header(0, 1) + key("a", u32(ARRAY) + u32(U32) + u64(1 << 30)) + bytes(900),
    "2^62 elements": gguf_file([], [tensor("a", [1 << 31, 1 << 31])], bytes(900)),
    "a string of 2^30 bytes": header(0, 1) + key("a", u32(STRING) + u64(1 << 30)) + bytes(900),
    "4 billion layers": llama_file({"llama.block_count": u32(U32) + u32((1 << 32) - 1)}),
    "4 billion columns": llama_file({"llama.feed_forward_length": u32(U32) + u32((1 << 32) - 1)}),
    "4 billion heads": llama_file({"llama.attention.head_count": u32(U32) + u32((1 << 32) - 1)}),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_cost_nothing(name: str) -> None:
    """GG-3: what a small file claims allocates nothing and takes no time."""
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ContractError):
        load(CLAIMS[name])
    elapsed, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert elapsed < 0.2
    assert peak < 1 << 20


def test_many_small_keys_stay_proportional_to_the_file() -> None:
    """GG-3: a file full of the smallest keys is read in linear time and memory."""
    keys = [key(b"%06d" % index, u32(U8) + b"\1") for index in range(50_000)]
    data = gguf_file(keys)
    tracemalloc.start()
    start = time.process_time()
    file = read_gguf(data)
    elapsed, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(file.metadata) == 50_000
    assert elapsed < 10
    assert peak < 40 * len(data)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))])
def test_any_buffer_will_do(wrap: type) -> None:
    """GG-3: the reader takes any contiguous buffer."""
    assert len(read_gguf(wrap(MODEL)).tensors) == 20


def test_a_mapped_file_will_do(tmp_path: Path) -> None:
    """GG-3: a memory-mapped file is read without loading it."""
    path = tmp_path / "model.gguf"
    path.write_bytes(MODEL)
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        file = read_gguf(mapped)
        assert bytes(file.tensor_bytes(file.tensors["output_norm.weight"])) == MODEL[file.data_offset + 256 :][:32]


def test_a_large_vocabulary_opens_quickly() -> None:
    """GG-3: 152,000 tokens and 151,000 merges open in under 0.3 seconds (measured: 0.03)."""
    tokens = array(STRING, [b"token %d" % index for index in range(152_000)])
    merges = array(STRING, [b"%d %d" % (index, index) for index in range(151_000)])
    data = gguf_file([key("tokenizer.ggml.tokens", tokens), key("tokenizer.ggml.merges", merges)])
    times = []
    for _ in range(3):
        start = time.process_time()
        file = read_gguf(data)
        times.append(time.process_time() - start)
    assert file.metadata.strings("tokenizer.ggml.merges")[-1] == b"150999 150999"
    assert min(times) < 0.3
