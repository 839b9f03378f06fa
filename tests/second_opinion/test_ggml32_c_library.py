"""The elementary functions of `ggml32` against the C library of the machine, every bit, where that is glibc."""

from __future__ import annotations

import ctypes
import platform

import numpy as np
import pytest

from refruntime.numerics.ggml32.c_library import LIBRARIES
from refruntime.numerics.ggml32.c_logarithms import logarithm, power

if platform.libc_ver()[0] != "glibc":
    pytest.skip("needs a machine with glibc", allow_module_level=True)

MACHINE = ctypes.CDLL("libm.so.6")
VERSION = tuple(int(part) for part in platform.libc_ver()[1].split(".")[:2])
ROUNDED_SINCE = pytest.mark.skipif(
    VERSION >= (2, 41), reason="glibc rounds tanhf correctly since 2.41; `ggml32` has the bits of those before"
)
OURS = {"expf": "exp", "sinf": "sin", "cosf": "cos", "tanhf": "tanh"}


def called(name: str, *arguments: np.ndarray) -> np.ndarray:
    """Call a function of the machine's library for every element."""
    function = getattr(MACHINE, name)
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float] * len(arguments)
    return np.array([function(*map(float, numbers)) for numbers in zip(*arguments, strict=True)], np.float32)


def numbers() -> np.ndarray:
    """Return float32 of every kind: bit patterns spread evenly, angles of positions, and what softmax sees."""
    rng = np.random.default_rng(5)
    patterns = np.linspace(0, 2**32 - 1, 1500).astype(np.uint32).view(np.float32)
    return np.concatenate([patterns, rng.uniform(-40, 300, 1500).astype(np.float32)])


@pytest.mark.parametrize("name", ["expf", "sinf", "cosf", pytest.param("tanhf", marks=ROUNDED_SINCE)])
def test_functions_have_the_bits_of_glibc(name: str) -> None:
    """FW-8: what a build with glibc computes, over all float32; NaN stays NaN."""
    x = numbers()
    ours, theirs = getattr(LIBRARIES["glibc"], OURS[name])(x), called(name, x)
    same = (ours.view(np.uint32) == theirs.view(np.uint32)) | np.isnan(ours) & np.isnan(theirs)
    assert same.all(), x[~same][:5]


def test_steps_of_rotary_angles() -> None:
    """FW-5: theta^(-2 / D) for the bases and head sizes of published models."""
    bases = np.array([1e4, 1e5, 1.6e5, 5e5, 1e6, 5e6, 1e7, 25000.0], np.float32)
    base, size = (grid.ravel() for grid in np.meshgrid(bases, np.arange(2, 514, 2).astype(np.float32)))
    exponent = np.float32(-2) / size
    np.testing.assert_array_equal(power(base, exponent), called("powf", base, exponent))


def test_logarithms() -> None:
    """FW-5: YaRN asks for the logarithm of a factor of its context, softplus for that of any number."""
    x = np.concatenate([np.arange(1, 129).astype(np.float32), numbers()])
    ours, theirs = logarithm(x), called("logf", x)
    same = (ours.view(np.uint32) == theirs.view(np.uint32)) | np.isnan(ours) & np.isnan(theirs)
    assert same.all(), x[~same][:5]


@pytest.mark.parametrize("name", ["sin", "cos", "tanh"])
def test_the_libraries_differ(name: str) -> None:
    """FW-8: musl is another library, not another name of the same one."""
    x = numbers()
    with np.errstate(all="ignore"):
        glibc, musl = (np.nan_to_num(getattr(LIBRARIES[library], name)(x)) for library in ("glibc", "musl"))
    assert 0 < np.count_nonzero(glibc != musl) < len(x) // 10
    np.testing.assert_allclose(glibc, musl, rtol=3e-7, atol=1e-30)


def test_powers() -> None:
    """FW-5, SA-2: any power, as dynamic temperature asks for; a correctly rounded one differs in places."""
    rng = np.random.default_rng(8)
    base = np.concatenate([rng.uniform(0, 1, 20_000), np.exp(rng.uniform(-100, 88, 20_000)), [0, 1, np.inf, 1e-42, 2]])
    exponent = np.concatenate([rng.uniform(-6, 6, 40_000), [3, np.inf, -1, 0.5, -149]]).astype(np.float32)
    base = base.astype(np.float32)
    theirs = called("powf", base, exponent)
    ours = power(base, exponent)
    assert np.array_equal(ours.view(np.uint32), theirs.view(np.uint32)), np.flatnonzero(ours != theirs)[:5]
    with np.errstate(all="ignore"):
        rounded = np.power(base.astype(np.float64), exponent.astype(np.float64)).astype(np.float32)
    assert np.count_nonzero(rounded != theirs) > 5
