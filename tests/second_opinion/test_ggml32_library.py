"""Profile `ggml32` against a scalar build of ggml and llama.cpp on this machine (`tools/scalar_ggml/build.sh`).

Whole models go through llama-cpp-python's declarations of llama.cpp's interface, pointed to that build: its version has
to be that of the sources that were built.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics import numerics_named
from refruntime.numerics.ggml32.activations import QUANTIZERS
from refruntime.numerics.ggml32.blocks import FORMS, take_apart
from refruntime.numerics.ggml32.compiled import CompiledProducts
from refruntime.quants.ggml import GGML_TYPES
from tests.support.scalar_ggml import (
    VARIABLE,
    ScalarGgml,
    differing,
    folder,
    logits,
    quiet,
    random_rows,
    random_weights,
    read_q8,
)

LIBRARIES = folder()
if LIBRARIES is None:
    pytest.skip(f"{VARIABLE} names no folder with a scalar build of ggml", allow_module_level=True)

MODELS = Path(__file__).parents[2] / "golden/models"
STORIES = ("stories.f32.gguf", "stories.q4_0.gguf", "stories.q8_0.gguf")
FEW, MANY = 1_000, 100_000
AT_ONCE = 500
NUMBERS = {each.name: number for number, each in GGML_TYPES.items()}
COLUMNS = 512


@pytest.fixture(scope="module")
def ggml() -> ScalarGgml:
    """Load the kernels."""
    assert LIBRARIES is not None
    return ScalarGgml(LIBRARIES)


@pytest.fixture(scope="module")
def llama() -> Iterator[Any]:
    """Load llama.cpp with its declarations in Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAMA_CPP_LIB_PATH", str(LIBRARIES))
        module = pytest.importorskip("llama_cpp.llama_cpp", reason="llama-cpp-python declares llama.cpp's interface")
        with quiet():
            module.llama_backend_init()
            yield module


COUNTS = pytest.mark.parametrize("rows", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])


@COUNTS
@pytest.mark.parametrize("kind", QUANTIZERS)
def test_quantised_rows(ggml: ScalarGgml, kind: str, rows: int) -> None:
    """GG-8: no bit of quants, scales and sums differs."""
    for start in range(0, rows, AT_ONCE):
        inputs = random_rows(AT_ONCE, COLUMNS, 100 + start)
        quants, scales, sums = read_q8(kind, ggml.quantize(kind, inputs))
        ours = QUANTIZERS[kind](inputs)
        assert np.array_equal(ours.quants, quants)
        assert differing(ours.scales, scales) == 0
        assert sums is None or differing(ours.sums, sums) == 0


@COUNTS
@pytest.mark.parametrize("name", FORMS)
def test_dots(ggml: ScalarGgml, name: str, rows: int) -> None:
    """GG-8: no bit of a dot differs, one for each row of weights and each row of inputs."""
    each, compiled = GGML_TYPES[NUMBERS[name]], CompiledProducts(1)
    for start in range(0, rows, AT_ONCE):
        weights = random_weights(name, AT_ONCE, COLUMNS, each.block_size, each.type_size, start + NUMBERS[name])
        inputs = random_rows(AT_ONCE, COLUMNS, start + 1)
        kind = FORMS[name].activation
        theirs = ggml.dots(NUMBERS[name], weights, ggml.quantize(kind, inputs), COLUMNS)
        ours = np.diagonal(compiled.dot(take_apart(each, weights), QUANTIZERS[kind](inputs))).copy()
        assert differing(ours, theirs) == 0


@pytest.mark.parametrize(
    ("numerics", "kv", "flash", "together"),
    [
        ("ggml32", 0, 0, 32),
        ("ggml32,kv=f16", 1, 0, 32),
        ("ggml32,kv=f16", 1, 0, 1),
        ("ggml32,flash=on", 0, 1, 1),
        ("ggml32,kv=f16,flash=on", 1, 1, 1),
        ("ggml32,kv=f16,flash=on", 1, 1, 32),
        ("ggml32,flash=tiles", 0, 1, 64),
        ("ggml32,kv=f16,flash=tiles", 1, 1, 128),
    ],
)
@pytest.mark.parametrize("name", STORIES)
def test_whole_models(llama: Any, name: str, numerics: str, kv: int, flash: int, together: int) -> None:
    """GG-8, GEN-4: no bit of 256 rows of logits differs, whatever the cache and the number of tokens at once."""
    ids = [1, *map(int, np.random.default_rng(4).integers(3, 250, 255))]
    theirs = logits(llama, MODELS / name, ids, kv, flash, together)
    model = validate_model((MODELS / name).read_bytes(), Profile())
    transformer = Transformer(model, Profile(), numerics_named(numerics))
    ours = transformer.forward(ids, transformer.new_cache(), first_logit=-len(ids))
    assert differing(ours, theirs) == 0


@pytest.mark.parametrize("kv", [0, 1])
@pytest.mark.parametrize("name", STORIES)
def test_whole_steps(llama: Any, name: str, kv: int) -> None:
    """GEN-4: no bit of 256 rows differs where each token is one call of compiled code."""
    ids = [1, *map(int, np.random.default_rng(8).integers(3, 250, 255))]
    model = validate_model((MODELS / name).read_bytes(), Profile())
    numerics = numerics_named("ggml32,kv=f16" if kv else "ggml32", 1, "numba")
    transformer = Transformer(model, Profile(), numerics)
    cache = transformer.new_cache()
    ours = np.concatenate([transformer.forward([token], cache) for token in ids])
    assert differing(ours, logits(llama, MODELS / name, ids, kv, 0, 1)) == 0


@pytest.mark.parametrize(("kv", "threads"), [(0, 2), (1, 3)])
@pytest.mark.parametrize("name", STORIES)
def test_threads_share_single_tokens(llama: Any, name: str, kv: int, threads: int) -> None:
    """FW-6: behind 256 positions there are 512 cells, of which each thread takes a part with flash attention."""
    ids = [1, *map(int, np.random.default_rng(9).integers(3, 250, 263))]
    model = validate_model((MODELS / name).read_bytes(), Profile())
    model = replace(model, hyperparameters=replace(model.hyperparameters, max_context=len(ids)))
    numerics = numerics_named(f"ggml32,kv={'f16' if kv else 'f32'},flash=on,threads={threads}")
    transformer = Transformer(model, Profile(), numerics)
    ours = transformer.forward(ids, transformer.new_cache(), first_logit=-len(ids))
    assert differing(ours, logits(llama, MODELS / name, ids, kv, 1, 32, 8, threads)) == 0
    assert differing(ours[-1], logits(llama, MODELS / name, ids, kv, 1, 32, 8)[-1]) > 0


def with_longer_heads(path: Path, folder: Path) -> Path:
    """Write a model of four heads of 16 as one of two heads of 32, which a cache of blocks needs."""
    data = path.read_bytes()
    changes = (("attention.head_count", 4, 2), ("attention.head_count_kv", 4, 2), ("rope.dimension_count", 16, 32))
    for key, old, new in changes:
        name = f"llama.{key}".encode()
        entry = struct.pack("<Q", len(name)) + name + struct.pack("<I", 4)
        assert data.count(entry + struct.pack("<I", old)) == 1
        data = data.replace(entry + struct.pack("<I", old), entry + struct.pack("<I", new))
    target = folder / path.name
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("together", [1, 96])
@pytest.mark.parametrize("name", STORIES)
def test_a_cache_of_blocks(llama: Any, name: str, together: int, tmp_path: Path) -> None:
    """FW-9, GG-8: no bit of 96 rows differs with keys and values in Q8_0, whose scores are dots of blocks."""
    path = with_longer_heads(MODELS / name, tmp_path)
    ids = [1, *map(int, np.random.default_rng(4).integers(3, 250, 95))]
    model = validate_model(path.read_bytes(), Profile())
    transformer = Transformer(model, Profile(), numerics_named("ggml32,kv=q8_0"))
    ours = transformer.forward(ids, transformer.new_cache(), first_logit=-len(ids))
    assert differing(ours, logits(llama, path, ids, 8, 1, together)) == 0


def test_every_architecture(llama: Any, shared_data: Path) -> None:
    """GG-8, GG-14: a model of each architecture, 12 rows of logits each, one by one and together."""
    ids = [1, *map(int, np.random.default_rng(3).integers(3, 200, 11))]
    paths = sorted(shared_data.glob("zoo*/*.gguf"))
    assert len(paths) > 40
    for path in paths:
        model = validate_model(path.read_bytes(), Profile())
        transformer = Transformer(model, Profile(), numerics_named("ggml32"))
        ours = transformer.forward(ids, transformer.new_cache(), first_logit=-len(ids))
        for together in (1, len(ids)):
            assert differing(ours, logits(llama, path, ids, 0, 0, together)) == 0, path.name


def test_every_storage_type(llama: Any) -> None:
    """GG-8: a small model of each tensor type, 12 rows of logits each."""
    ids = [1, *map(int, np.random.default_rng(3).integers(3, 200, 11))]
    paths = sorted(MODELS.glob("*.gguf"))
    assert len(paths) > 40
    for path in paths:
        theirs = logits(llama, path, ids, 0, 0, 12)
        model = validate_model(path.read_bytes(), Profile())
        transformer = Transformer(model, Profile(), numerics_named("ggml32"))
        ours = transformer.forward(ids, transformer.new_cache(), first_logit=-len(ids))
        assert differing(ours, theirs) == 0, path.name


def test_gelu_and_conversions(ggml: ScalarGgml) -> None:
    """GG-11: the table of GELU for every half-precision number."""
    assert LIBRARIES is not None
    library = ctypes.CDLL(str(LIBRARIES / "libggml-cpu.so"))
    table = np.array((ctypes.c_uint16 * (1 << 16)).in_dll(library, "ggml_table_gelu_f16"), np.uint16)
    halves = np.arange(1 << 16).astype(np.uint16).view(np.float16).astype(np.float32)
    inner = np.abs(halves) < 10
    ours = numerics_named("ggml32").gelu_tanh(halves)[inner].astype(np.float16).view(np.uint16)
    assert np.array_equal(ours, table[inner])
