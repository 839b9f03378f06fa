"""Compiled decoding: the bits of the NumPy definition, where numba is; the definition alone where it is not."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from refruntime.quants import ggml
from refruntime.quants.ggml import COMPILED_ELEMENTS, dequantize
from tests.support.ggml_blocks import BY_NAME, COMPILED, extreme_blocks, random_blocks, same_bits
from tests.support.machine_code import fused_instructions, numbers, octets

pytest.importorskip("numba", reason="numba is not installed: pip install 'refruntime[speed]'")
compiled = pytest.importorskip("refruntime.quants.compiled")
kept = pytest.importorskip("refruntime.machine_code.kept")
decoding = pytest.importorskip("refruntime.quants.compiled.decoding")


def test_types_that_are_read_in_runs_are_told_without_numba() -> None:
    """GG-8: the names that callers see are those of the readers."""
    assert set(compiled.IN_RUNS) == set(decoding.READERS)


def test_every_block_type_has_a_kernel() -> None:
    """GG-8: all types are compiled but those of plain numbers; of these, numbers in two bytes are."""
    assert sorted(compiled.TABLES) == sorted([*COMPILED, "f16", "bf16"])
    assert compiled.decoder("f32") is None


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_numbers_in_two_bytes_are_widened_by_compiled_loops(name: str) -> None:
    """GG-8: all 65536 codes, 32 of them a block, have the bits that NumPy's decoder gives; NaN stays NaN."""
    codes = np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 64)
    kind, decode = ggml.in_blocks(BY_NAME[name], 32), compiled.decoder(name)
    assert kind is not None
    assert decode is not None
    values = np.empty((len(codes), 32), np.float32)
    decode(codes, values)
    assert same_bits(values, dequantize(BY_NAME[name], codes.tobytes(), (len(codes), 32)))
    assert ggml.in_blocks(BY_NAME[name], 48) is None


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_loops_give_the_bits_of_numpy(name: str) -> None:
    """GG-8: a thousand random blocks and every extreme scale, read from memory that may not be written."""
    blocks = np.concatenate([random_blocks(name, 1000, 21), extreme_blocks(name, 22)])
    shape = (len(blocks), BY_NAME[name].block_size)
    found, expected = (dequantize(BY_NAME[name], blocks.tobytes(), shape, kernels=each) for each in ("numba", "numpy"))
    assert same_bits(found, expected)


@pytest.mark.parametrize(
    "name",  # compiling is dear, and a fused product shows in the bits of the test above
    ["q4_1", "iq1_s", *(pytest.param(name, marks=pytest.mark.slow) for name in ("q5_1", "q2_k", "q4_k", "q5_k"))],
)
def test_no_product_is_fused_into_a_sum(name: str) -> None:
    """Section 13 GGUF: ggml's `d * q - m` is rounded twice; the machine code has no fused multiply-add."""
    assert not fused_instructions(decoding.decoding(name), octets(2), numbers(2), *compiled.tables_of(name))


def test_large_tensors_are_compiled_unasked_once_it_pays_and_small_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """GG-8: "auto" takes the compiled loops from `COMPILED_ELEMENTS` elements on, behind `LOADING_PAYS` in NumPy."""
    asked: list[str] = []
    monkeypatch.setattr(compiled, "decoder", asked.append)
    monkeypatch.setattr(ggml, "LOADING_PAYS", 2 * COMPILED_ELEMENTS)
    monkeypatch.setattr(ggml, "_SPENT", ggml._Spent())
    kind = BY_NAME["q8_0"]
    for count in (COMPILED_ELEMENTS, COMPILED_ELEMENTS - 32, COMPILED_ELEMENTS):
        dequantize(kind, bytes(count // 32 * 34), (count,))
        assert asked == []
    dequantize(kind, bytes((COMPILED_ELEMENTS - 32) // 32 * 34), (COMPILED_ELEMENTS - 32,))
    assert asked == []
    dequantize(kind, bytes(COMPILED_ELEMENTS // 32 * 34), (COMPILED_ELEMENTS,))
    assert asked == ["q8_0"]


def test_without_numba_large_tensors_are_decoded_by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """GG-8: numba is optional; only who asks for it by name gets an ImportError."""
    monkeypatch.setitem(sys.modules, "numba", None)
    compiled.decoder.cache_clear()
    kept.folder.cache_clear()
    monkeypatch.setattr(ggml, "_SPENT", ggml._Spent(ggml.LOADING_PAYS))
    kind = BY_NAME["q8_0"]
    raw = np.tile(random_blocks("q8_0", 1, 3).reshape(-1), COMPILED_ELEMENTS // 32)
    found = dequantize(kind, raw, (COMPILED_ELEMENTS // 32, 32))
    assert same_bits(found[-1], dequantize(kind, raw[:34], (32,)))
    with pytest.raises(ImportError):
        dequantize(kind, raw[:34], (32,), kernels="numba")


def test_unknown_kernels_are_named() -> None:
    """GG-8: a misspelt choice is a mistake of the caller."""
    with pytest.raises(ValueError, match="unknown kernels 'cuda'; expected one of auto, numpy, numba"):
        dequantize(BY_NAME["f32"], bytes(4), (1,), kernels="cuda")
