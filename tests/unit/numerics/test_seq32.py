"""The ordered sums of seq32 against scalar loops."""

from __future__ import annotations

import numpy as np
import pytest

from refruntime.numerics import CompiledSeq32


class Source:
    """A matrix that is decoded already."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape = values, values.shape

    def rows(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        return self.values[start:stop]


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).view(np.uint32)


def scalar_product(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    """One row of outputs: `acc += w * x` over the columns, every operation rounded (FW-4)."""
    total = np.zeros(matrix.shape[0], np.float32)
    for column in range(matrix.shape[1]):
        total = total + matrix[:, column] * x[column]
    return total


SHAPES = [(1, 1, 1), (1, 64, 1), (1, 64, 3), (2, 64, 1), (64, 64, 1), (64, 172, 7), (260, 64, 5), (513, 130, 3),
          (2048, 512, 2), (5000, 65, 4), (17, 300, 130), (16, 1, 9), (31, 63, 1), (33, 65, 1)]  # fmt: skip


@pytest.mark.parametrize(("out", "inputs", "count"), SHAPES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_project_adds_in_column_order(out: int, inputs: int, count: int, threads: int) -> None:
    """FW-4: every shape class and thread count gives the bits of a scalar loop, also with huge and tiny values."""
    rng = np.random.default_rng(out * 1000 + inputs)
    matrix = (rng.standard_normal((out, inputs)) * 10.0 ** rng.integers(-6, 7, (out, inputs))).astype(np.float32)
    x = rng.standard_normal((count, inputs)).astype(np.float32)
    numerics = CompiledSeq32(threads)
    result = numerics.project(numerics.matrix([Source(matrix)]), x)
    for row in range(count):
        assert np.array_equal(bits(result[row]), bits(scalar_product(matrix, x[row])))


def test_matrix_product_of_blas_differs() -> None:
    """FW-4: the comparison above is sharp enough to see another order of additions."""
    rng = np.random.default_rng(5)
    matrix, x = rng.standard_normal((64, 512)).astype(np.float32), rng.standard_normal(512).astype(np.float32)
    assert not np.array_equal(bits(matrix @ x), bits(scalar_product(matrix, x)))


@pytest.mark.parametrize("per_block", [False, True])
@pytest.mark.parametrize(("out", "inputs", "block"), [(1, 64, 64), (5, 64, 32), (40, 96, 2), (300, 128, 128)])
def test_scaled_products(out: int, inputs: int, block: int, per_block: bool) -> None:
    """FW-4: `(q*x)*scale`, and block sums that start at 0.0 and are scaled before they join the running sum."""
    rng = np.random.default_rng(block)
    q = rng.integers(-8, 8, (out, inputs)).astype(np.int8)
    scales = rng.random((out, inputs // block)).astype(np.float32)
    x = rng.standard_normal((3, inputs)).astype(np.float32)
    numerics = CompiledSeq32()
    result = numerics.project(numerics.scaled_matrix(q, scales, block, per_block), x)
    for row in range(3):
        total, block_sum = np.zeros(out, np.float32), np.zeros(out, np.float32)
        for column in range(inputs):
            product = q[:, column].astype(np.float32) * x[row, column]
            scale = scales[:, column // block]
            if not per_block:
                total = total + product * scale
                continue
            block_sum = block_sum + product
            if column % block == block - 1:
                total, block_sum = total + block_sum * scale, np.zeros(out, np.float32)
        assert np.array_equal(bits(result[row]), bits(total))


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (9, 1), (1000, 1), (1000, 2), (257, 3), (64, 129), (5, 70000)])
def test_sum_rows_is_sequential(rows: int, width: int) -> None:
    """FW-3, FW-6: sums over the first axis equal `np.add.accumulate`, which is sequential by definition."""
    terms = np.random.default_rng(rows).standard_normal((rows, width)).astype(np.float32)
    expected = np.add.accumulate(terms, axis=0, dtype=np.float32)[-1]
    assert np.array_equal(bits(CompiledSeq32().sum_rows(terms)), bits(expected))
    transposed = np.asfortranarray(terms)
    assert np.array_equal(bits(CompiledSeq32().sum_rows(transposed)), bits(expected))


def test_sums_start_at_positive_zero() -> None:
    """FW-4: a sum that starts at 0.0 is +0.0 when every term is -0.0."""
    numerics = CompiledSeq32()
    terms = np.full((4, 3), -0.0, np.float32)
    assert not np.signbit(numerics.sum_rows(terms)).any()
    matrix = numerics.matrix([Source(np.full((3, 4), -0.0, np.float32))])
    assert not np.signbit(numerics.project(matrix, np.ones((1, 4), np.float32))).any()
