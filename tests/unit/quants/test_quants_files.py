"""Every decodable type on its way through a GGUF file: entry, rows, label and inspection come from the same table."""

from __future__ import annotations

import numpy as np
import pytest

from refruntime.containers.gguf import read_gguf
from refruntime.contract.profile import Profile
from refruntime.errors import InvalidTensorDirectory
from refruntime.inspection import inspect_artifact
from refruntime.model.gguf.model import GgufWeight, quantization_label
from refruntime.quants.ggml import dequantize
from tests.support.ggml_blocks import BY_NAME, DECODED, random_blocks, same_bits
from tests.support.gguf_by_hand import gguf_file, tensor

ROWS, COLUMNS = 5, 512


def file_with(name: str, columns: int = COLUMNS) -> tuple[bytes, np.ndarray]:
    """Return a file with one matrix [ROWS, columns] of a type, and its blocks."""
    kind = BY_NAME[name]
    blocks = random_blocks(name, -(-ROWS * columns // kind.block_size), 17)
    return gguf_file([], [tensor("a", [columns, ROWS], kind.number)], blocks.tobytes()), blocks


@pytest.mark.parametrize("name", DECODED)
def test_every_type_is_read_labelled_and_inspected(name: str) -> None:
    """GG-3, GG-9: a matrix of each type is accepted, named in the label and listed with its size."""
    data, blocks = file_with(name)
    file = read_gguf(data)
    assert file.tensors["a"].type is BY_NAME[name]
    assert quantization_label(file) == name
    (line,) = inspect_artifact(data, Profile()).tensors
    assert (line.type, line.shape, line.byte_length) == (name, (ROWS, COLUMNS), blocks.nbytes)


@pytest.mark.parametrize("name", DECODED)
def test_some_rows_are_those_of_the_whole_matrix(name: str) -> None:
    """GG-8: rows start .. stop - 1 alone, none, and one at the end, from bytes that start anywhere."""
    data, blocks = file_with(name)
    shifted = memoryview(b"x" + data)[1:]
    file = read_gguf(shifted)
    weight = GgufWeight("a", (ROWS, COLUMNS), BY_NAME[name], file.tensor_bytes(file.tensors["a"]))
    whole = dequantize(BY_NAME[name], blocks.reshape(-1), (ROWS, COLUMNS))
    for start, stop in ((0, None), (1, 3), (2, 2), (4, 5), (0, 1)):
        assert same_bits(weight.rows(start, stop), whole[start:stop])


@pytest.mark.parametrize("name", [name for name in DECODED if BY_NAME[name].block_size > 1])
def test_a_row_of_half_a_block_is_refused(name: str) -> None:
    """GG-3: the first dimension is a multiple of the block, in every type that has blocks."""
    data, _ = file_with(name, BY_NAME[name].block_size // 2)
    with pytest.raises(InvalidTensorDirectory, match="block"):
        read_gguf(data)


@pytest.mark.parametrize("name", DECODED)
def test_a_file_one_byte_short_is_refused(name: str) -> None:
    """GG-3: data past the end of the file give 7, in every type."""
    data, _ = file_with(name)
    with pytest.raises(InvalidTensorDirectory, match="past the end"):
        read_gguf(data[:-1])
