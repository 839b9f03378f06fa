"""The SLM1 tensor directory: every check of an entry alone and in order, and looking up names."""

from __future__ import annotations

import pytest

from refruntime.containers.slm1_format import fnv1a_64
from refruntime.errors import (
    ContractError,
    InvalidTensorDirectory,
    UnsupportedDType,
)
from tests.support.slm1_by_hand import (
    ENTRY_FIELDS,
    F32,
    Q4_0,
    Q8_0,
    build,
    entry_offset,
    model_tensors,
    patch_entry,
    tensor,
)
from tests.support.slm1_refusals import read, read_refusal


@pytest.mark.parametrize(
    ("name", "value"),
    [("", 0xCBF29CE484222325), ("a", 0xAF63DC4C8601EC8C), ("foobar", 0x85944171F73967E8)],
)
def test_published_hashes(name: str, value: int) -> None:
    """SL-4: the test vectors that the authors of FNV-1a publish."""
    assert fnv1a_64(name) == value


def test_find_takes_the_first_of_two_entries_with_one_hash() -> None:
    """SL-3: the first entry counts, an unknown name gives none."""
    tensors = model_tensors()
    file = build([*tensors, tensor("norm.weight", (2,), seed=9)])
    entries = read(file).entries
    first = entries.find("norm.weight")
    assert first is not None
    assert first.offset == entry_offset(file, "norm.weight")
    assert entries.find("no.such.weight") is None


def test_empty_directory_has_no_entries() -> None:
    """SL-1: a tensor_count of zero passes the reader; required tensors are a later question."""
    file = build([])
    assert len(read(file).entries) == 0
    assert read(file).entries.find("norm.weight") is None


def entry_fault(file: bytearray, kind: type[ContractError], field: str, name: str = "norm.weight") -> ContractError:
    error = read_refusal(file, kind)
    assert error.field == field
    assert error.offset == entry_offset(file, name) + ENTRY_FIELDS[field][0]
    return error


@pytest.mark.parametrize("dtype", [0, 4, 0xFFFFFFFF])
def test_dtype(dtype: int) -> None:
    """SL-1: a dtype other than 1, 2, 3 gives 10."""
    error = entry_fault(patch_entry(build(), "norm.weight", dtype=dtype), UnsupportedDType, "dtype")
    assert (error.status, error.found) == (10, dtype)


@pytest.mark.parametrize("rank", [0, 5, 0xFFFFFFFF])
def test_rank(rank: int) -> None:
    """SL-1: a rank other than 1..4 gives 7."""
    error = entry_fault(patch_entry(build(), "norm.weight", rank=rank), InvalidTensorDirectory, "rank")
    assert (error.status, error.found) == (7, rank)


@pytest.mark.parametrize("name", ["norm.weight", "an.extra"])
def test_payload_range(name: str) -> None:
    """SL-6, CL-slm1: a payload outside the file gives 7, for unknown extra tensors too; sums do not wrap."""
    tensors = [*model_tensors(), tensor("an.extra", (5,))]
    size = len(build(tensors))
    length = len(next(item for item in tensors if item.name == name).payload)
    patch_entry(good := build(tensors), name, byte_offset=size - length)
    read(good)
    for values in (
        {"byte_offset": size - length + 1},
        {"byte_offset": 2**64 - 1},
        {"byte_offset": 2**64 - length},
        {"byte_length": 2**63},
    ):
        error = entry_fault(patch_entry(build(tensors), name, **values), InvalidTensorDirectory, "byte_offset", name)
        assert (error.status, error.rule) == (7, "SL-6")


@pytest.mark.parametrize("dtype", [Q8_0, Q4_0])
@pytest.mark.parametrize("block", [None, 0, 3])
@pytest.mark.parametrize("name", ["output.weight", "norm.weight", "an.extra"])
def test_start_of_the_scales(dtype: int, block: int | None, name: str) -> None:
    """SL-6, CL-slm1: scales that start behind the last byte give 7, of extras and with a bad block_size too."""
    tensors = [*model_tensors(dtype), tensor("an.extra", (3, 4), dtype)]
    size = len(build(tensors))
    changes = {} if block is None else {"block_size": block}
    for inside in (0, 1, size - 1):  # where they end is looked at when the tensor is used
        read(patch_entry(build(tensors), name, scale_offset=inside, **changes))
    for value in (size, size + 1, 2**64 - 4, 2**64 - 1):
        file = patch_entry(build(tensors), name, scale_offset=value, **changes)
        error = entry_fault(file, InvalidTensorDirectory, "scale_offset", name)
        assert (error.status, error.found) == (7, value)


def test_fields_that_are_not_checked() -> None:
    """SL-6, CL-slm1: reserved bytes, dims beyond the rank, alignment, overlaps, scales and blocks of f32 entries."""
    file = build()
    patch_entry(file, "norm.weight", reserved=0xFFFFFFFF, dim1=2**32 - 1, dim2=2**32 - 1, dim3=2**32 - 1)
    patch_entry(file, "norm.weight", scale_offset=2**64 - 1, block_size=7, byte_offset=1)
    entry = read(file).entries.find("norm.weight")
    assert entry is not None
    assert (entry.dtype, entry.byte_offset, entry.shape) == (F32, 1, (2,))


def test_entries_are_checked_one_by_one() -> None:
    """SL-1, CL-slm1: any fault of an earlier entry comes before any fault of a later one."""
    first, last = "tok_embeddings.weight", "output.weight"
    faults: dict[str, tuple[dict[str, int], type[ContractError]]] = {
        "dtype": ({"dtype": 9}, UnsupportedDType),
        "rank": ({"rank": 0}, InvalidTensorDirectory),
        "byte_offset": ({"byte_offset": 2**40}, InvalidTensorDirectory),
        "scale_offset": ({"scale_offset": 2**40}, InvalidTensorDirectory),
    }
    for early_field, (early, kind) in faults.items():
        for late, _ in faults.values():
            file = patch_entry(patch_entry(build(model_tensors(Q8_0)), last, **late), first, **early)
            entry_fault(file, kind, early_field, first)


def test_order_within_an_entry() -> None:
    """SL-1, CL-slm1: dtype, rank, payload range, start of the scales; the earlier fault wins."""
    steps: list[tuple[str, dict[str, int], type[ContractError]]] = [
        ("dtype", {"dtype": 0}, UnsupportedDType),
        ("rank", {"rank": 5}, InvalidTensorDirectory),
        ("byte_offset", {"byte_offset": 2**40}, InvalidTensorDirectory),
        ("scale_offset", {"scale_offset": 2**40}, InvalidTensorDirectory),
    ]
    for place, (field, values, kind) in enumerate(steps):
        for _, later, _ in steps[place + 1 :]:
            entry_fault(patch_entry(build(model_tensors(Q8_0)), "norm.weight", **later, **values), kind, field)
