"""Host numbers against what WebAssembly in a JavaScript host makes of them (`host_numbers.mjs` wrote the table)."""

from __future__ import annotations

import json
import math
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from refruntime.host_numbers import to_f32, to_u32, to_u64

TABLE = json.loads((Path(__file__).resolve().parent / "host_numbers.json").read_text(encoding="utf-8"))
ROWS: dict[str, list[tuple[str, str]]] = {
    kind: [(given, became) for row_kind, given, became in TABLE["rows"] if row_kind == kind]
    for kind in ("i32", "i64", "f32")
}


def double(text: str) -> float:
    number: float = struct.unpack(">d", bytes.fromhex(text))[0]
    return number


def test_table_is_there() -> None:
    """ABI-3: the table covers each parameter type with hundreds of numbers."""
    assert {kind: len(rows) > 100 for kind, rows in ROWS.items()} == dict.fromkeys(("i32", "i64", "f32"), True)


def test_i32_parameters() -> None:
    """ABI-3, ABI-2: truncated, modulo 2^32; NaN and infinities give 0."""
    assert [to_u32(double(given)) for given, _ in ROWS["i32"]] == [int(became) for _, became in ROWS["i32"]]


def test_i32_parameters_given_as_integers() -> None:
    """ABI-3: a Python integer that a double holds means the same as that double."""
    for given, became in ROWS["i32"]:
        number = double(given)
        if math.isfinite(number) and number == int(number):
            assert to_u32(int(number)) == int(became)


def test_i64_parameters() -> None:
    """ABI-3, ABI-2: modulo 2^64."""
    assert [to_u64(int(given)) for given, _ in ROWS["i64"]] == [int(became) for _, became in ROWS["i64"]]


def test_f32_parameters() -> None:
    """ABI-3: rounded to nearest, ties to even; overflow gives infinity, small numbers subnormals and signed zeros."""
    for given, became in ROWS["f32"]:
        number = to_f32(double(given))
        assert type(number) is np.float32
        if became == "nan":
            assert np.isnan(number)
        else:
            assert int(number.view(np.uint32)) == int(became), double(given)


@pytest.mark.parametrize("value", [0.5, np.float64(2), np.float32(2), math.nan, "5", None, Fraction(1, 2)])
def test_i64_takes_integers_only(value: object) -> None:
    """ABI-3: a JavaScript host refuses a Number for an i64 parameter."""
    with pytest.raises(TypeError, match="BigInt"):
        to_u64(value)  # type: ignore[arg-type]


def test_numpy_numbers() -> None:
    """ABI-3: NumPy scalars count as the numbers that they are."""
    assert to_u32(np.int32(-1)) == 2**32 - 1
    assert to_u32(np.float32(-1.5)) == 2**32 - 1
    assert to_u64(np.int64(-1)) == to_u64(np.uint64(2**64 - 1)) == 2**64 - 1
    assert to_f32(np.float16(0.5)) == np.float32(0.5)
    assert to_f32(np.int8(-3)) == np.float32(-3)


def test_integers_beyond_the_doubles() -> None:
    """ABI-3: integers are not limited: they are taken exactly for i32, and as a (possibly infinite) double for f32."""
    assert to_u32(2**2000 + 5) == 5
    assert to_f32(2**2000) == np.inf
    assert to_f32(-(2**2000)) == -np.inf
    # 2^24 + 1 and a little: as a double it is the tie 2^24 + 1 exactly, which rounds to even.
    assert to_f32(2**60 + 2**36 + 1) == np.float32(2.0**60)


@pytest.mark.parametrize("convert", [to_u32, to_f32])
def test_what_is_no_number(convert: object) -> None:
    """ABI-3: what is no number is an error of the host program, not a value."""
    for value in (None, b"x", [1]):
        with pytest.raises((TypeError, ValueError)):
            convert(value)  # type: ignore[operator]


def test_conversion_ignores_the_error_state() -> None:
    """ABI-3: a host that lets NumPy raise on every floating-point event gets the same numbers."""
    with np.errstate(all="raise"):
        assert to_f32(1e39) == np.inf
        assert to_f32(1e-46) == 0
        assert to_f32(1e-40) == np.float32(1e-40)
        assert np.isnan(to_f32(math.nan))
