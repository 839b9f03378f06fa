"""The compiled loops of seq32 give the bits of NumPy's definition, for every shape, value and number of threads."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refruntime.containers.slm1_format import DType
from refruntime.contract.profile import Profile
from refruntime.machine_code import Loop
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics import KERNELS, AttentionVariant, CompiledSeq32, Numerics, Seq32, libm, numerics_named
from refruntime.numerics.compiled import formula_loops
from tests.support import machine_code
from tests.support.machine_code import fused_instructions
from tests.support.synthetic import SMALL, random_weights, slm1_file
from tests.unit.numerics.test_seq32 import Source

pytest.importorskip("numba", reason="numba is not installed: pip install 'refruntime[speed]'")
llvm = pytest.importorskip("llvmlite.binding")
loops = pytest.importorskip("refruntime.numerics.compiled.loops")

DEFINITION = Seq32()
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.1754944e-38, 3.4028235e38, -3.4028235e38],
                   np.float32)  # fmt: skip


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second thread pay for any amount of work."""
    monkeypatch.setattr("refruntime.numerics.compiled.seq32.COMPILED_THREAD_WORK", 1)


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    """Compare bit for bit; a NaN is a NaN, whatever its payload (DG-7)."""
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(found), nan)
    assert np.array_equal(found[~nan].view(np.uint32), expected[~nan].view(np.uint32))


def numbers(rng: np.random.Generator, *shape: int, kind: str = "wide") -> np.ndarray:
    """Draw float32 numbers: over 13 decades, or with one special value in ten."""
    with np.errstate(all="ignore"):
        values = (rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 7, shape)).astype(np.float32)
    if kind == "special":
        where = rng.random(shape) < 0.1
        values[where] = rng.choice(SPECIAL, int(where.sum()))
    return values


def assert_same_product(numerics: Seq32, matrix: np.ndarray, x: np.ndarray) -> None:
    stored = numerics.matrix([Source(matrix)])
    assert_same_bits(numerics.project(stored, x), DEFINITION.project(stored, x))


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("kind", ["wide", "special"])
def test_every_small_shape(threads: int, kind: str) -> None:
    """FW-4: 1 to 70 outputs, 1 to 9 positions, odd numbers of columns."""
    rng, numerics = np.random.default_rng(threads), CompiledSeq32(threads, "numba")
    for out in range(1, 71):
        for count in (1, 4, 5, 9) if out % 10 == 0 else (1 + out % 9,):
            inputs = int(rng.integers(1, 90))
            assert_same_product(numerics, numbers(rng, out, inputs, kind=kind), numbers(rng, count, inputs, kind=kind))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("out", "inputs", "count"), [(2047, 33, 4), (2048, 64, 5), (2049, 17, 1), (5000, 130, 7)])
def test_wide_matrices(out: int, inputs: int, count: int, threads: int) -> None:
    """FW-4: outputs that need several tiles, and work that is worth several threads."""
    rng = np.random.default_rng(out)
    numerics = CompiledSeq32(threads, "numba")
    assert_same_product(numerics, numbers(rng, out, inputs), numbers(rng, count, inputs))


def test_tiny_values_are_not_flushed() -> None:
    """FW-4: products and sums below the normal range keep their bits."""
    rng = np.random.default_rng(1)
    matrix, x = (rng.standard_normal(shape).astype(np.float32) * np.float32(1e-20) for shape in ((70, 50), (5, 50)))
    stored = CompiledSeq32(1, "numba").matrix([Source(matrix)])
    result = CompiledSeq32(1, "numba").project(stored, x)
    assert ((result != 0) & (np.abs(result) < 1.1754944e-38)).mean() > 0.9
    assert_same_bits(result, DEFINITION.project(stored, x))


@pytest.mark.parametrize("count", [1, 4, 5])
@pytest.mark.parametrize("padding", [0, 1, 2, 3, 15])
def test_product_is_rounded_before_it_is_added(count: int, padding: int) -> None:
    """FW-4: -(1 + 2^-11) + (1 + 2^-12)^2 is 0 in two roundings and 2^-24 in a fused one."""
    factor = np.float32(1 + 2**-12)
    row = [np.float32(-(1 + 2**-11)), *[np.float32(0)] * padding, factor]
    x = [np.float32(1), *[np.float32(0)] * padding, factor]
    numerics = CompiledSeq32(1, "numba")
    matrix = numerics.matrix([Source(np.array([row] * 37, np.float32))])
    assert not numerics.project(matrix, np.array([x] * count, np.float32)).any()


RUN, PAIR = machine_code.numbers(), (1, 1)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "project": (RUN, RUN, RUN, *[1] * 5),
    "exponential": (RUN, RUN),
    "silu": (RUN, RUN),
    "rotate": (RUN, RUN, RUN, RUN, 1, 1),
    "hyperbolic_tangent": (RUN, RUN),
    "rms_norm": (RUN, RUN, RUN, np.float32(1)),
    "state_space": (RUN, RUN, RUN, RUN, (1,) * 4),
    "delta_net": (RUN, RUN, RUN, RUN, (1,) * 4),
    "attention": (*[RUN] * 4, RUN, PAIR, RUN, PAIR, RUN, np.float32(1), np.float32(1), 1, (1,) * 5, 1, 1),
}


@pytest.mark.parametrize(
    "name",
    [  # these two take longest to compile; a fused product shows in the bits of the tests above too
        pytest.param(each, marks=[pytest.mark.slow] * (each in ("attention", "project"))) for each in ARGUMENTS
    ],
)
def test_no_fused_instructions(name: str) -> None:
    """FW-4: the machine code has no fused multiply-add."""
    loop = getattr(formula_loops, name)
    fresh = loops.kernel(getattr(import_module(loop.module), loop.function).py_func)
    assert not fused_instructions(fresh, *ARGUMENTS[name])


def test_every_loop_of_seq32_was_searched() -> None:
    """FW-4: `dots` alone may fuse, which is a loop of `fast`."""
    kept = {name for name, loop in vars(formula_loops).items() if isinstance(loop, Loop)}
    assert kept == {*ARGUMENTS, "dots"}


def test_fused_instructions_would_be_found() -> None:
    """FW-4: with leave to fuse, the compiler does it, and the search above sees it."""
    if not llvm.get_host_cpu_features().get("fma") and platform.machine() not in ("aarch64", "arm64"):
        pytest.skip("this machine has no fused multiply-add")
    fusing = loops.kernel(loops.rms_norm.py_func, fastmath={"contract"})
    assert fused_instructions(fusing, *ARGUMENTS["rms_norm"])


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("kind", ["plain", "special values"])
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(1, 1, 2), (4, 4, 8), (6, 2, 6), (5, 1, 64), (8, 8, 66)])
def test_attention(heads: int, kv_heads: int, head_dim: int, kind: str, threads: int) -> None:
    """FW-6, GG-8: scores, weights and mixed values for any numbers of new and old positions in a longer cache."""
    rng, numerics = np.random.default_rng(heads), CompiledSeq32(threads, "numba")
    for n, position in [(1, 0), (1, 1), (1, 30), (2, 3), (3, 0), (4, 0), (5, 7), (6, 2), (9, 26), (17, 0)]:
        end = position + n
        q = rng.standard_normal((n, heads, head_dim)).astype(np.float32)
        keys = rng.standard_normal((head_dim, kv_heads, 37)).astype(np.float32)
        values = numbers(rng, 37, kv_heads, head_dim, kind="special" if kind == "special values" else "wide")
        if kind == "special values":  # a NaN or an infinity among the scores makes the rest of its row NaN
            keys[:, 0, position] = np.float32(3e38)
            q[-1, 0, 0] = np.nan
        keys[:, :, end:] = np.nan  # behind the visible length lies anything
        with np.errstate(all="ignore"):
            expected = DEFINITION.attention(q, keys[:, :, :end], values[:end], position)
        found = numerics.attention(q, keys[:, :, :end], values[:end], position)
        for one, other in zip(found, expected, strict=True):
            assert_same_bits(one, np.ascontiguousarray(other))


def test_attention_over_scattered_arrays() -> None:
    """FW-6: arrays whose last axis is not contiguous, or that cannot be written, give the same."""
    rng, numerics = np.random.default_rng(8), CompiledSeq32(1, "numba")
    q, keys, values = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4, 8), (8, 2, 9), (9, 2, 8)))
    expected = DEFINITION.attention(q, keys, values, 6)
    scattered = np.asfortranarray(q), np.asfortranarray(keys), values[:, :, ::-1].copy()[:, :, ::-1]
    for array in scattered:
        array.flags.writeable = False
    for one, other in zip(numerics.attention(*scattered, 6), expected, strict=True):
        assert_same_bits(one, np.ascontiguousarray(other))


@pytest.mark.parametrize(("softcap", "window"), [(0.0, 0), (1.5, 0), (0.0, 1), (0.0, 5), (0.0, 99), (2.0, 4)])
@pytest.mark.parametrize("scale", [None, np.float32(0.35)])
@pytest.mark.parametrize("sinks", [None, [0.5, -2, 9, 0, -np.inf, 3e38]])
def test_attention_variants(scale: np.float32 | None, softcap: float, window: int, sinks: list[float] | None) -> None:
    """FW-6, GG-11: another scale, soft caps, windows and sinks give the same bits with either kind of loops."""
    rng, variant = np.random.default_rng(window), AttentionVariant(scale, softcap, window)
    variant = variant if sinks is None else variant._replace(sinks=np.array(sinks, np.float32))
    for n, position in [(1, 0), (1, 30), (2, 3), (5, 7), (8, 0), (9, 26)]:
        end = position + n
        q, keys, values = (
            rng.standard_normal(shape).astype(np.float32) for shape in ((n, 6, 8), (8, 2, 37), (37, 2, 8))
        )
        values[0], keys[:, :, end:] = np.inf, np.nan
        with np.errstate(all="ignore"):
            expected = DEFINITION.attention(q, keys[:, :, :end], values[:end], position, variant)
            found = CompiledSeq32(2, "numba").attention(q, keys[:, :, :end], values[:end], position, variant)
        for one, other in zip(found, expected, strict=True):
            assert_same_bits(np.ascontiguousarray(one), np.ascontiguousarray(other))


def test_elementary_functions() -> None:
    """FW-7, FW-8: random bits, every exponent, the limits of the ranges and their neighbours."""
    rng, numerics = np.random.default_rng(2), CompiledSeq32(1, "numba")
    limits = np.array([88.72284, 87.33655, -87.33655, -103.97208, 2**-13, -(2**-13), 0.34657359], np.float32)
    limits = np.append(limits, np.array([0.54930615, 0.25541282, 10.0, -10.0, 0.17328680, 7.9711924], np.float32))
    near = (limits.view(np.int32)[:, None] + np.arange(-500, 501, dtype=np.int32)).view(np.float32).reshape(-1)
    anything = rng.integers(0, 2**32, 500_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    usual = np.concatenate([rng.standard_normal(100_000).astype(np.float32) * scale for scale in (1, 10, 40)])
    for x in (near, anything, usual.reshape(3, -1), usual[::3], SPECIAL, usual[:0]):
        assert_same_bits(numerics.exp(x), libm.expf(x))
        assert_same_bits(numerics.tanh(x), libm.tanhf(x))
        with np.errstate(all="ignore"):
            assert_same_bits(numerics.silu(x), DEFINITION.silu(x))


@pytest.mark.parametrize("kind", ["wide", "special"])
@pytest.mark.parametrize(("n", "size"), [(1, 1), (1, 512), (4, 33), (130, 7)])
def test_rms_norm(n: int, size: int, kind: str) -> None:
    """FW-3: the sum of squares in index order, and the products from left to right."""
    rng = np.random.default_rng(n)
    for _ in range(20):
        x, weight = numbers(rng, n, size, kind=kind), numbers(rng, size)
        with np.errstate(all="ignore"):
            expected = DEFINITION.rms_norm(x, weight, 1e-5)
        assert_same_bits(CompiledSeq32(1, "numba").rms_norm(x, weight, 1e-5), expected)


def logits_and_cache(file: bytes, numerics: Numerics, sizes: list[int]) -> list[np.ndarray]:
    model = Transformer(validate_model(file, Profile()), Profile(), numerics)
    cache, parts, tokens = model.new_cache(), [], [256, *b"Once upon a time there was a fox that had no name."]
    for size in sizes:
        parts.append(model.forward(tokens[cache.length :][:size], cache, first_logit=0))
    return [np.concatenate(parts), cache.keys, cache.values]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", list(DType))
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_whole_transformer(dtype: DType, tied: bool, threads: int) -> None:
    """FW-2, FW-9, GEN-4: logits, keys and values of a model, in one pass, in single steps and in any split."""
    file = slm1_file(random_weights(4, tied=tied, **SMALL), dtype=dtype, tied=tied, **SMALL)
    expected = logits_and_cache(file, DEFINITION, [50])
    for sizes in ([50], [1] * 50, [7, 13, 1, 19, 10]):
        for one, other in zip(logits_and_cache(file, CompiledSeq32(threads, "numba"), sizes), expected, strict=True):
            assert_same_bits(one, other)


def test_model_that_overflows() -> None:
    """GEN-11: infinities and NaN appear at the same places."""
    weights = random_weights(6, **SMALL)
    weights["tok_embeddings.weight"][ord("x")] = np.nan
    weights["layers.1.wv.weight"][:] = np.float32(3e38)
    file = slm1_file(weights, **SMALL)
    expected = logits_and_cache(file, DEFINITION, [50])
    assert not np.isfinite(expected[0]).all()
    for one, other in zip(logits_and_cache(file, CompiledSeq32(2, "numba"), [50]), expected, strict=True):
        assert_same_bits(one, other)


@pytest.mark.usefixtures("eager")
def test_several_callers_at_once() -> None:
    """FW-4: threads of the caller may share one numeric profile."""
    rng, numerics = np.random.default_rng(9), CompiledSeq32(2, "numba")
    stored = numerics.matrix([Source(numbers(rng, 300, 64))])
    inputs = [numbers(rng, 1 + index % 6, 64) for index in range(60)]
    with ThreadPoolExecutor(4) as callers:
        results = list(callers.map(lambda x: numerics.project(stored, x), inputs))
    for x, result in zip(inputs, results, strict=True):
        assert_same_bits(result, DEFINITION.project(stored, x))


def test_auto_turns_to_compiled_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """FW-4: after enough work the compiled loops take over, on the matrices that are there, without another bit."""
    monkeypatch.setattr("refruntime.numerics.compiled.loading.LOADING_PAYS", 50_000)
    rng, numerics = np.random.default_rng(7), CompiledSeq32(1)
    stored, x = numerics.matrix([Source(numbers(rng, 100, 100))]), numbers(rng, 2, 100)
    used = []
    for _ in range(6):
        assert_same_bits(numerics.project(stored, x), DEFINITION.project(stored, x))
        used.append(numerics.kernels)
    assert used == ["numpy"] * 3 + ["numba"] * 3


def test_names_of_kernels() -> None:
    """`numerics_named` passes the choice on, and names what it knows."""
    chosen = [numerics_named("seq32", 1, kernels) for kernels in KERNELS]
    assert [numerics.kernels for numerics in chosen if isinstance(numerics, CompiledSeq32)] == [
        "numpy",
        "numpy",
        "numba",
    ]
    with pytest.raises(ValueError, match="unknown kernels 'cuda'; expected one of auto, numpy, numba"):
        CompiledSeq32(kernels="cuda")


USE = """
import sys
import numpy as np
from refruntime.numerics import CompiledSeq32
from refruntime.numerics.compiled import loading
loading.LOADING_PAYS = 1
told = []
numerics = CompiledSeq32(1, {kernels!r}, told.append)
matrix = np.ones((8, 8), np.float32)
print(numerics.kernels, "numba" in sys.modules)
for _ in range(3):
    numerics.project(matrix, np.ones((1, 8), np.float32))
print(numerics.kernels, *told, sep="|")
print("numba" in sys.modules)
"""


def run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)


def test_numba_is_optional() -> None:
    """Without numba `auto` stays with NumPy and says nothing; `numba` raises ImportError."""
    absent = "import sys; sys.modules['numba'] = None\n"
    assert run(absent + USE.format(kernels="auto")).stdout.splitlines()[:2] == ["numpy True", "numpy"]
    forced = run(absent + USE.format(kernels="numba"))
    assert "ModuleNotFoundError" in forced.stderr


def test_numba_that_cannot_be_loaded(tmp_path: Path) -> None:
    """A numba that refuses this NumPy is reported once, and NumPy goes on."""
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 1.2 or less')")
    first_on_path = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    lines = run(first_on_path + USE.format(kernels="auto")).stdout.splitlines()
    assert lines[:2] == ["numpy False", "numpy|going on without compiled loops: Numba needs NumPy 1.2 or less"]


@pytest.mark.slow
def test_machine_code_is_kept(tmp_path: Path) -> None:
    """The first process says once that it compiles; the second one finds the machine code and never imports numba."""
    outputs = [run(USE.format(kernels="auto"), XDG_CACHE_HOME=str(tmp_path)).stdout.splitlines() for _ in range(2)]
    first, second = outputs
    assert first[0] == second[0] == "numpy False"
    assert first[1].startswith("numba|compiling loops")
    assert first[1].count("|") == 1
    assert first[2] == "True"
    assert second[1:] == ["numba", "False"]


@pytest.mark.parametrize("decay", [True, False], ids=["state space", "delta net"])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (4, 3, 5, 2), (2, 8, 16, 1), (6, 13, 32, 3)])
def test_scans_have_the_bits_of_the_definition(sizes: tuple[int, int, int, int], decay: bool) -> None:
    """GG-14: states of every shape, with zeros of both signs, subnormal and infinite numbers among them."""
    heads, count, size, groups = sizes
    rng, width = np.random.default_rng(heads), heads * count + 2 * groups * size + heads * (1 if decay else 2)
    compiled = CompiledSeq32(1, "numba")
    for kind in ("wide", "special"):
        state, rows = numbers(rng, heads, count, size, kind=kind), numbers(rng, 3, width, kind=kind)
        decays = -np.abs(numbers(rng, heads)) if decay else None
        before = state.copy()
        with np.errstate(all="ignore"):
            expected = DEFINITION.scan(state, rows, groups, decays)
            found = compiled.scan(state, rows, groups, decays)
        for ours, theirs in zip(found, expected, strict=True):
            assert_same_bits(ours, theirs)
        assert_same_bits(state, before)
