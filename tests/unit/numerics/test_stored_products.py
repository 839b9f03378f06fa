"""Products of stored blocks: in seq32 the bits of decoding first, in `fast` their value; every block type."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

from refruntime.numerics import CompiledSeq32, Fast
from refruntime.numerics.compiled.loading import Loader
from refruntime.numerics.in_place import STORED_PAYS, InPlaceMatrix, Inventory, residence
from refruntime.numerics.seq32 import Seq32
from refruntime.quants.ggml import GGML_TYPES, GgmlType, StoredRows, dequantize, in_blocks
from tests.support.ggml_blocks import COMPILED, HALF_SCALES, extreme_blocks, random_blocks
from tests.support.machine_code import fused_instructions, numbers, octets
from tools.compile_kernels import STORED

pytest.importorskip("numba", reason="numba is not installed: pip install 'refruntime[speed]'")
stored = pytest.importorskip("refruntime.numerics.compiled.stored")
turned = pytest.importorskip("refruntime.quants.compiled.turned")
stored_loops = pytest.importorskip("refruntime.numerics.compiled.stored_loops")

TYPES = [pytest.param(name, marks=[pytest.mark.slow] * (name not in STORED)) for name in (*COMPILED, "f16", "bf16")]
BY_NAME = {kind.name: in_blocks(kind, 32) or kind for kind in GGML_TYPES.values()}
"""Block types, and numbers in two bytes as blocks of 32. Those that are not fast differ in what decodes them, which is
tested for itself."""

SPECIAL = np.array([0, -0.0, 1e-45, -1e-40, 1.1754944e-38, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan], np.float32)


class Blocks:
    """A matrix of blocks [out, blocks of a row, bytes], as a container gives it."""

    storage = None

    def __init__(self, kind: GgmlType, blocks: np.ndarray) -> None:
        self.kind, self.blocks, self.name = kind, blocks, kind.name
        self.shape = blocks.shape[0], blocks.shape[1] * kind.block_size

    def rows(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        part = self.blocks[start:stop]
        return dequantize(self.kind, part.tobytes(), (len(part), self.shape[1]), kernels="numpy")

    def stored(self) -> StoredRows:
        return StoredRows(self.kind, self.blocks.reshape(self.shape[0], -1))


class Plain:
    """A matrix of float32 numbers that no file stores in blocks."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape = values, values.shape

    def rows(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        return self.values[start:stop]


def matrix_of(name: str, out: int, columns: int, seed: int, *, tame: bool = False) -> Blocks:
    """Return random blocks; the tame ones have scales that trained weights have."""
    kind = BY_NAME[name]
    if name in ("f16", "bf16"):
        return Blocks(kind, numbers_in_two_bytes(name, out, columns, seed, 1.0 if tame else 1e-6))
    blocks = random_blocks(name, out * columns // kind.block_size, seed)
    if tame:
        for place in HALF_SCALES.get(name, ()):
            scales = np.random.default_rng(place).uniform(0.01, 0.02, (len(blocks), 1)).astype(np.float16)
            blocks[:, place : place + 2] = scales.view(np.uint8)
    if tame and name == "mxfp4":
        blocks[:, 0] = 120 + blocks[:, 0] % 8
    if tame and name == "nvfp4":
        blocks[:, :4] = 32 + blocks[:, :4] % 32
    if tame and name == "iq1_m":
        blocks[:, 49:56:2] = blocks[:, 49:56:2] & 15 | np.array([0, 0, 0, 0x20], np.uint8)
    return Blocks(kind, blocks.reshape(out, -1, kind.type_size))


def numbers_in_two_bytes(name: str, out: int, columns: int, seed: int, smallest: float) -> np.ndarray:
    """Return blocks of numbers of many sizes, a few of them subnormal in half precision, and one infinity or NaN."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((out, columns)) * smallest ** rng.random((out, columns))
    bits = values.astype(np.float16).view(np.uint16)
    if name == "bf16":
        bits = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if smallest < 1:
        bits[0, 0] = {"f16": 0x7C01, "bf16": 0xFF80}[name]
    return bits.view(np.uint8).reshape(out, -1, 64)


def expected_bits(source: Blocks | Plain, x: np.ndarray) -> np.ndarray:
    """Return the product of the decoded matrix: NumPy's decoder and NumPy's definition of seq32."""
    plain = Seq32()
    with np.errstate(all="ignore"):
        return plain.project(plain.matrix([Plain(source.rows())]), x)


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), nan)
    np.testing.assert_array_equal(found[~nan].view(np.uint32), expected[~nan].view(np.uint32))


def in_place(*sources: Blocks | Plain, threads: int = 1, kernels: str = "numba") -> tuple[CompiledSeq32, Any]:
    numerics = CompiledSeq32(threads, kernels, resident="stored")
    matrix = numerics.matrix(list(sources))
    assert isinstance(matrix, InPlaceMatrix)
    return numerics, matrix


@pytest.mark.parametrize("name", TYPES)
def test_seq32_has_the_bits_of_decoding_first(name: str) -> None:
    """FW-4, GG-8: any bytes, 1 to 70 rows, several blocks, 1 to 5 positions with special values among them."""
    rng = np.random.default_rng(5)
    for out, columns, count in ((1, 256, 1), (33, 512, 5), (70, 1280, 3), (64, 256, 4)):
        source = matrix_of(name, out, columns, out)
        x = (rng.standard_normal((count, columns)) * 10.0 ** rng.integers(-6, 7, (count, columns))).astype(np.float32)
        x[rng.random(x.shape) < 0.01] = rng.choice(SPECIAL)
        numerics, matrix = in_place(source)
        with np.errstate(all="ignore"):
            assert_same_bits(numerics.project(matrix, x), expected_bits(source, x))
        np.testing.assert_array_equal(numerics.matrix_rows(matrix, [out - 1]), source.rows(out - 1, out))


@pytest.mark.parametrize("name", TYPES)
def test_every_extreme_scale_keeps_its_bits(name: str) -> None:
    """FW-4, GG-8: zeros of both signs, subnormal, largest, infinite scales and NaN; each block is a row of its own."""
    kind = BY_NAME[name]
    if name in ("f16", "bf16"):  # every code
        blocks = np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 64)
    else:
        blocks = extreme_blocks(name, 3)
    source = Blocks(kind, blocks.reshape(len(blocks), 1, kind.type_size))
    rng = np.random.default_rng(6)
    x = rng.standard_normal((2, kind.block_size)).astype(np.float32)
    x[1, :: kind.block_size // 4] = [0, -0.0, 1e-45, 3e38]
    numerics, matrix = in_place(source)
    with np.errstate(all="ignore"):
        assert_same_bits(numerics.project(matrix, x), expected_bits(source, x))


@pytest.mark.parametrize("name", ["q4_k", "q8_0", "iq3_s"])
def test_columns_that_fill_no_whole_tile(name: str) -> None:
    """FW-4: a row ends in the middle of the columns that are decoded together."""
    kind = BY_NAME[name]
    source = matrix_of(name, 40, 3 * kind.block_size, 9)
    x = np.random.default_rng(1).standard_normal((2, 3 * kind.block_size)).astype(np.float32)
    numerics, matrix = in_place(source)
    with np.errstate(all="ignore"):
        assert_same_bits(numerics.project(matrix, x), expected_bits(source, x))


@pytest.mark.parametrize("kernels", ["numpy", "numba"])
@pytest.mark.parametrize("count", [1, 6])
def test_several_types_side_by_side(count: int, kernels: str) -> None:
    """FW-4: matrices of two block types and of plain numbers that share their input; without numba part by part."""
    rng = np.random.default_rng(2)
    plain = Plain(rng.standard_normal((21, 512)).astype(np.float32))
    sources = matrix_of("q5_0", 45, 512, 1, tame=True), plain, matrix_of("q6_k", 2000, 512, 2, tame=True)
    x = rng.standard_normal((count, 512)).astype(np.float32)
    numerics, matrix = in_place(*sources, threads=3, kernels=kernels)
    assert matrix.shape == (2066, 512)
    assert_same_bits(numerics.project(matrix, x), np.hstack([expected_bits(source, x) for source in sources]))


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("count", [1, 7])
def test_fast_has_the_value(name: str, count: int) -> None:
    """FW-4: `fast` differs from a product in float64 by the rounding of float32 sums alone."""
    source = matrix_of(name, 70, 1280, 4, tame=True)
    x = np.random.default_rng(3).standard_normal((count, 1280)).astype(np.float32)
    numerics = Fast("stored", 2)
    found = numerics.project(numerics.matrix([source]), x)
    assert numerics.compiled
    terms = np.abs(x.astype(np.float64)) @ np.abs(source.rows().astype(np.float64)).T
    error = np.abs(found - x.astype(np.float64) @ source.rows().astype(np.float64).T)
    assert (error <= 40 * 2.0**-24 * terms).all()


def test_fast_without_numba_decodes_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """FW-4: the loops are optional; the value is the same."""
    source = matrix_of("q4_1", 70, 1280, 4, tame=True)
    x = np.random.default_rng(3).standard_normal((1, 1280)).astype(np.float32)
    numerics = Fast("stored", 1)
    monkeypatch.setattr(numerics, "prepare", lambda: None)
    monkeypatch.setattr(numerics._loader, "prepare", lambda: None)
    np.testing.assert_allclose(numerics.project(numerics.matrix([source]), x), x @ source.rows().T, rtol=1e-4)
    assert not numerics.compiled


@pytest.mark.parametrize(
    "name",  # compiling is dear, and a fused product shows in the bits of the tests above
    ["iq1_s", *(pytest.param(name, marks=pytest.mark.slow) for name in ("q4_1", "q4_k", "q2_k"))],
)
def test_seq32_fuses_no_product_into_a_sum(name: str) -> None:
    """FW-4: products are rounded before they are added; the machine code of the loop has no fused multiply-add."""
    arguments = numbers(), octets(3), numbers(), 0, 1, stored.tables_of(name), octets(), numbers()
    assert not fused_instructions(stored_loops.columns(name), *arguments)
    if name in stored.TURNED:
        assert not fused_instructions(stored_loops.turned_columns(name), *arguments)


def test_types_that_are_turned_are_told_without_numba() -> None:
    """FW-4: the names that callers see are those of the readers."""
    assert set(stored.TURNED) == set(turned.TURNED)


def test_auto_decides_by_the_blocks_of_a_model() -> None:
    """GG-8: few blocks are decoded; many stay where loops read them; float32 is refused where it fills the memory."""
    many, few = Inventory(STORED_PAYS), Inventory(STORED_PAYS - 1)
    assert [residence(each, compiled=True) for each in (few, many)] == ["float32", "stored"]
    assert [residence(each, compiled=False) for each in (few, many)] == ["float32", "float32"]
    assert residence(Inventory(0, fits=False), compiled=False) == "stored"
    for numerics in (Fast("auto"), CompiledSeq32(1, resident="auto")):
        assert (numerics.settled(few).resident, numerics.settled(many).resident) == ("float32", "stored")
    assert CompiledSeq32(1, "numpy", resident="auto").settled(many).resident == "float32"
    for resident in ("float32", "stored"):
        asked = Fast(resident)
        assert asked.settled(many) is asked.settled(few) is asked


def test_sums_in_place_by_hand() -> None:
    """FW-4: two q8_0 blocks worked out: (2 * 3 + 2 * -1) + (0.5 * 4) with every other value zero."""
    blocks = np.zeros((1, 2, 34), np.uint8)
    blocks[0, 0, :2] = np.array([2], np.float16).view(np.uint8)
    blocks[0, 1, :2] = np.array([0.5], np.float16).view(np.uint8)
    blocks[0, 0, 2:4] = [3, 255]  # 3 and -1
    blocks[0, 1, 33] = 4
    numerics, matrix = in_place(Blocks(BY_NAME["q8_0"], blocks))
    x = np.ones((1, 64), np.float32)
    assert float(numerics.project(matrix, x)[0, 0]) == math.fsum([6, -2, 2])


def test_who_prepares_waits_for_a_thread_that_does() -> None:
    """GG-8: loops that are being loaded beside a file are not taken for absent; work that needs none goes on."""
    begun, go_on = threading.Event(), threading.Event()

    def load(_notice: Any) -> str:
        begun.set()
        assert go_on.wait(60)
        return "loops"

    loader: Loader[str] = Loader("auto", load)
    beside = threading.Thread(target=loader.prepare)
    beside.start()
    assert begun.wait(60)
    assert loader.spend(10**12) is None
    threading.Timer(0.05, go_on.set).start()
    loader.prepare()
    assert loader.loops == "loops"
    beside.join()
