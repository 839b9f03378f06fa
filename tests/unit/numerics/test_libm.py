"""expf, sinf, cosf, powf and tanhf against what Rust's libm returns in a real WASM module (FW-8)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from decimal import Decimal, localcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from refruntime.numerics import libm
from refruntime.numerics.libm import elementwise, exponential, pi_reduction, power, trigonometric

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

TESTS = Path(__file__).resolve().parents[2]
VECTORS = TESTS / "second_opinion" / "vectors" / "libm"
PROBE = TESTS / "second_opinion" / "makers" / "libm" / "wasm_libm.py"

FUNCTIONS: dict[str, Callable[..., Float32Array]] = {
    "expf": libm.expf,
    "sinf": libm.sinf,
    "cosf": libm.cosf,
    "tanhf": libm.tanhf,
    "powf": libm.powf,
}
UNARY = ("expf", "sinf", "cosf", "tanhf")
VECTOR_FILES = {**{name: name for name in FUNCTIONS}, "powf_rope": "powf"}
IN_FLOAT64: dict[str, Any] = {"expf": np.exp, "sinf": np.sin, "cosf": np.cos, "tanhf": np.tanh, "powf": np.power}

PI = Decimal("3.1415926535897932384626433832795028841971693993751058209749445923078164062862089986280348253421170679")

# Ordinary values, every special class, and both sides of the limits, in one array.
MIXED = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.3, -2.5, 1e-45, -1e-40, 7.0, 88.8, -87.5, -104.0, 1e9, -3e38, np.inf, -np.inf, np.nan],
    dtype=np.float32,
)


def load(name: str) -> tuple[list[Float32Array], Float32Array]:
    """Return the arguments and the WASM module's results of one vector file."""
    with np.load(VECTORS / f"{name}.npz") as stored:
        arguments = [stored[key].view(np.float32) for key in ("x", "y") if key in stored]
        return arguments, stored["result"].view(np.float32)


def differing(expected: Float32Array, found: Float32Array) -> NDArray[np.bool_]:
    """Mark the elements that differ in a bit. WASM leaves a NaN's payload open, so any NaN equals any other."""
    both_nan = np.isnan(expected) & np.isnan(found)
    result: NDArray[np.bool_] = (expected.view(np.uint32) != found.view(np.uint32)) & ~both_nan
    return result


def assert_same_bits(expected: Float32Array, found: Float32Array, *arguments: Float32Array) -> None:
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    wrong = np.flatnonzero(differing(expected, found))
    first = [
        (float(argument[wrong[0]]).hex(), expected[wrong[0]], found[wrong[0]]) for argument in arguments if wrong.size
    ]
    assert wrong.size == 0, f"{wrong.size} of {expected.size} differ; the first: (argument, expected, found) {first}"


def arguments_of(name: str, values: Float32Array) -> list[Float32Array]:
    return [values, values[::-1].copy()] if name == "powf" else [values]


@pytest.mark.parametrize("name", VECTOR_FILES)
def test_equals_the_wasm_module_in_every_bit(name: str) -> None:
    """FW-8: results equal those that Rust's standard library computed on wasm32-unknown-unknown."""
    arguments, expected = load(name)
    assert expected.size >= 8000
    assert_same_bits(expected, FUNCTIONS[VECTOR_FILES[name]](*arguments), *arguments)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_vectors_hold_every_class_of_number(name: str) -> None:
    """FW-8: the vectors contain zeros, subnormals, normals, infinities and NaN of both signs."""
    arguments, _ = load(name)
    for x in arguments:
        magnitude = np.abs(x)
        subnormal = (magnitude > 0) & (magnitude < np.float32(2.0**-126))
        for sign in (False, True):
            side = np.signbit(x) == sign
            for members in (magnitude == 0, subnormal, np.isfinite(x) & ~subnormal, np.isinf(x), np.isnan(x)):
                assert (members & side).any()


@pytest.mark.parametrize(
    ("name", "least_share"), [("expf", 0.01), ("tanhf", 0.01), ("powf", 0.01), ("powf_rope", 0.01)]
)
def test_rounding_once_from_float64_is_another_function(name: str, least_share: float) -> None:
    """FW-8: the vectors tell Rust's libm from a correctly rounded one, which a shortcut would give."""
    arguments, expected = load(name)
    with np.errstate(all="ignore"):
        wide = [np.where(np.isnan(argument), np.nan, argument.astype(np.float64)) for argument in arguments]
        shortcut = IN_FLOAT64[VECTOR_FILES[name]](*wide).astype(np.float32)
    assert differing(expected, shortcut).mean() > least_share


@pytest.mark.parametrize(
    ("module", "constant", "names"),
    [
        *((exponential, constant, ["expf"]) for constant in ("EXP_LN2_HIGH", "EXP_LN2_LOW", "EXP_P1", "EXP_P2")),
        *((exponential, constant, ["tanhf"]) for constant in ("EXPM1_LN2_HIGH", "EXPM1_LN2_LOW", "EXPM1_Q1")),
        *((exponential, constant, ["expf"]) for constant in ("EXP_OVERFLOW", "EXP_UNDERFLOW")),
        *((trigonometric, constant, ["sinf", "cosf"]) for constant in ("SIN_1", "SIN_2", "SIN_3", "SIN_4")),
        *((trigonometric, constant, ["sinf", "cosf"]) for constant in ("COS_0", "COS_1", "COS_2", "COS_3")),
        *((pi_reduction, constant, ["sinf", "cosf"]) for constant in ("HALF_PI", "HALF_PI_HIGH", "HALF_PI_LOW")),
        *((power, constant, ["powf"]) for constant in ("LOG2_OF_1_5_LOW", "TWO_OVER_3LN2", "TWO_OVER_3LN2_LOW")),
        *((power, constant, ["powf"]) for constant in ("INVERSE_LN2", "INVERSE_LN2_LOW", "LN2", "LN2_LOW")),
    ],
)
def test_a_slightly_wrong_constant_is_caught(
    module: ModuleType, constant: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FW-8: the vectors notice each constant, here made about one percent smaller."""
    value = getattr(module, constant)
    monkeypatch.setattr(module, constant, type(value)(value * (1 - 2.0**-7)))
    wrong = 0
    for name in names:
        arguments, expected = load(name)
        wrong += int(differing(expected, FUNCTIONS[name](*arguments)).sum())
    assert wrong > 0


@pytest.fixture(scope="session")
def wasm_libm(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Float32Array]:
    """Rust's libm in a WASM module built now."""
    pytest.importorskip("wasmtime", reason="wasmtime is not installed")
    specification = importlib.util.spec_from_file_location("wasm_libm", PROBE)
    assert specification is not None
    assert specification.loader is not None
    probe = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(probe)
    try:
        compiler = probe.find_compiler()
    except probe.ToolchainMissingError as missing:
        pytest.skip(str(missing))
    path = tmp_path_factory.mktemp("libm") / "libm_probe.wasm"
    probe.build(compiler, path)
    result: Callable[..., Float32Array] = probe.WasmLibm(path)
    return result


@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_a_module_built_now(name: str, wasm_libm: Callable[..., Float32Array]) -> None:
    """FW-8: any mixture of bit patterns gives the results of a module that this machine's compiler makes."""

    @settings(deadline=None, max_examples=150)
    @given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=64))
    def check(patterns: list[int]) -> None:
        arguments = arguments_of(name, np.array(patterns, dtype=np.uint32).view(np.float32))
        assert_same_bits(wasm_libm(name, *arguments), FUNCTIONS[name](*arguments), *arguments)

    check()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_a_module_built_now_on_many_inputs(name: str, wasm_libm: Callable[..., Float32Array]) -> None:
    """FW-8: bit patterns spread over all binades give the results of a module built now."""
    stride = 8191  # prime, so that the patterns fall on no lattice of the mantissa
    x = np.arange(0, 2**32, stride, dtype=np.uint64).astype(np.uint32).view(np.float32)
    arguments = [x]
    if name == "powf":
        random = np.random.default_rng(5)
        x = np.exp2(random.uniform(-149, 128, 500_000)).astype(np.float32)
        arguments = [x, random.uniform(-4, 4, x.size).astype(np.float32)]
    assert_same_bits(wasm_libm(name, *arguments), FUNCTIONS[name](*arguments), *arguments)


def units_in_the_last_place(exact: Float64Array, found: Float32Array) -> float:
    spacing = np.spacing(np.abs(exact.astype(np.float32))).astype(np.float64)
    return float((np.abs(found.astype(np.float64) - exact) / spacing).max())


@pytest.mark.parametrize(
    ("name", "low", "high", "bound"),
    [("expf", -87, 88, 1.0), ("tanhf", -10, 10, 2.2), ("sinf", -1e5, 1e5, 0.51), ("cosf", -1e5, 1e5, 0.51)],
)
def test_close_to_the_mathematics(name: str, low: float, high: float, bound: float) -> None:
    """FW-8: the error against float64 stays within the bound that msun's algorithm has, in units of the last place."""
    x = np.random.default_rng(3).uniform(low, high, 200_000).astype(np.float32)
    assert units_in_the_last_place(IN_FLOAT64[name](x.astype(np.float64)), FUNCTIONS[name](x)) < bound


def test_powf_is_close_to_the_mathematics() -> None:
    """FW-8: powf errs by less than one unit in the last place against float64."""
    random = np.random.default_rng(4)
    x = random.uniform(0.01, 50, 200_000).astype(np.float32)
    y = random.uniform(-10, 10, x.size).astype(np.float32)
    assert units_in_the_last_place(x.astype(np.float64) ** y.astype(np.float64), libm.powf(x, y)) < 1.0


def decimal_sine(angle: int) -> float:
    """Return sin of an integer angle below 2**128: exact reduction by 100 digits of pi, then the Taylor series."""
    with localcontext() as context:
        context.prec = 100
        term = total = Decimal(angle) % (2 * PI)
        square = term * term
        for power in range(3, 80, 2):
            term = -term * square / (power * (power - 1))
            total += term
        return float(total)


def test_huge_angles_are_reduced_exactly() -> None:
    """FW-8: angles up to float32's largest number agree with 100-digit arithmetic within half a unit, and a little."""
    exponents = np.repeat(np.arange(30, 128), 4)
    mantissas = np.random.default_rng(6).uniform(1, 2, exponents.size)
    x = np.append((mantissas * 2.0**exponents).astype(np.float32), np.finfo(np.float32).max)
    exact = np.array([decimal_sine(int(angle)) for angle in x])
    assert units_in_the_last_place(exact, libm.sinf(x)) < 0.51
    assert units_in_the_last_place(exact, -libm.sinf(-x)) < 0.51


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (17,), (2, 3, 4)])
def test_keeps_shape_and_dtype(name: str, shape: tuple[int, ...]) -> None:
    """FW-8: the result has the argument's shape, also 0-d and empty ones, and is float32."""
    x = np.resize(MIXED, shape)
    result = FUNCTIONS[name](*([x] * (2 if name == "powf" else 1)))
    assert isinstance(result, np.ndarray)
    assert result.shape == shape
    assert result.dtype == np.float32


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_element_does_not_depend_on_its_neighbours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FW-8: one call, one call per element, strided views and blocks of any length give the same bits."""
    arguments = arguments_of(name, MIXED)
    function = FUNCTIONS[name]
    together = function(*arguments)
    apart = [function(*(argument[index] for argument in arguments)) for index in range(MIXED.size)]
    assert_same_bits(np.array(apart, dtype=np.float32), together, *arguments)
    strided = function(*(np.repeat(argument, 2)[::2] for argument in arguments))
    assert_same_bits(together, strided, *arguments)
    monkeypatch.setattr(elementwise, "BLOCK_LENGTH", 5)
    assert_same_bits(together, function(*arguments), *arguments)


def test_powf_broadcasts() -> None:
    """FW-8: powf combines a column and a row into a table."""
    x = np.array([[2.0], [3.0], [10000.0]], dtype=np.float32)
    y = np.array([0.0, 1.0, 2.0, -1.0], dtype=np.float32)
    table = libm.powf(x, y)
    assert table.shape == (3, 4)
    assert table[:2, :3].tolist() == [[1.0, 2.0, 4.0], [1.0, 3.0, 9.0]]
    assert libm.powf(np.float32(10000.0), y).tolist() == table[2].tolist()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_neither_warns_nor_writes_to_its_arguments(name: str) -> None:
    """FW-8: overflow, underflow and NaN are silent even where NumPy was told to raise; arguments may be read-only."""
    arguments = arguments_of(name, MIXED)
    for argument in arguments:
        argument.setflags(write=False)
    with np.errstate(all="raise"):
        FUNCTIONS[name](*arguments)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_refuses_other_dtypes(name: str, dtype: type[np.generic]) -> None:
    """FW-8: a float64 argument is a promotion the caller did not notice, so it is named, not rounded."""
    with pytest.raises(TypeError, match=rf"{name} takes float32 arguments, found {np.dtype(dtype)}"):
        FUNCTIONS[name](*([np.ones(3, dtype=dtype)] * (2 if name == "powf" else 1)))


SPECIAL_POWERS = [
    (np.nan, 0.0, 1.0),
    (1.0, np.nan, 1.0),
    (-1.0, np.inf, 1.0),
    (-8.0, 1.0 / 3.0, np.nan),
    (-2.0, 3.0, -8.0),
    (-2.0, 4.0, 16.0),
    (-0.0, -1.0, -np.inf),
    (-0.0, -2.0, np.inf),
    (-0.0, 3.0, -0.0),
    (-0.0, 0.5, 0.0),
    (-np.inf, 3.0, -np.inf),
    (-np.inf, -3.0, -0.0),
    (-np.inf, 0.5, np.inf),
    (0.5, np.inf, 0.0),
    (0.5, -np.inf, np.inf),
    (2.0, -np.inf, 0.0),
]


@pytest.mark.parametrize(("x", "y", "expected"), SPECIAL_POWERS)
def test_special_powers(x: float, y: float, expected: float) -> None:
    """FW-8: powf follows the special cases of pow in ISO C annex F."""
    found = libm.powf(np.float32(x), np.float32(y))
    assert_same_bits(np.array([expected], dtype=np.float32), found.reshape(1))
