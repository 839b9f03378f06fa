"""Values of the golden format against what float.hex, numpy.save, hashlib and json say."""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refruntime.golden.values import (
    bytes_hash,
    canonical_json,
    disk_json,
    hex_float,
    is_float32,
    json_hash,
    json_integer,
    npy_bytes,
    parse_float,
    parse_hex_float,
    parse_integer,
    parse_npy,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def shortest(number: float) -> str:
    """Shorten what float.hex says of a normal double."""
    sign, _, rest = number.hex().rpartition("0x")
    digits, _, exponent = rest.partition("p")
    return f"{sign}0x{digits.rstrip('0').rstrip('.') if '.' in digits else digits}p{exponent}"


def value_of(text: str) -> Fraction:
    """Evaluate a hex float by hand: digits times a power of two."""
    sign, _, rest = text.rpartition("0x")
    digits, _, exponent = rest.partition("p")
    whole, _, behind = digits.partition(".")
    number = Fraction(int(whole + behind, 16), 16 ** len(behind)) * Fraction(2) ** int(exponent)
    return -number if sign else number


@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_hex_float_is_the_shortest_form(number: float) -> None:
    """A normal double is written as float.hex does, without zeros that say nothing."""
    if number == 0:
        assert hex_float(number) == ("-0x0p+0" if math.copysign(1, number) < 0 else "0x0p+0")
    else:
        assert hex_float(number) == shortest(number)


@given(st.integers(0, 2**64 - 1))
def test_hex_float_reads_back(bits: int) -> None:
    """Every double, subnormal ones included, has one text: it begins with 1, means the same, and reads back."""
    (number,) = struct.unpack("<d", bits.to_bytes(8, "little"))
    text = hex_float(number)
    back = parse_hex_float(text)
    assert back is not None
    if math.isnan(number):
        assert text == "nan"
        assert math.isnan(back)
        return
    assert struct.pack("<d", back) == struct.pack("<d", number)
    if math.isfinite(number) and number != 0:
        assert text.lstrip("-").startswith("0x1")
        assert value_of(text) == Fraction(number)


WRONG_HEX = (
    "", "0x1", "1p0", "0x1.p+0", "0x1.80p+0", "0x2p+0", "0x0.8p+0", "0x0p+1", "0X1p+0", "0x1P+0", "0x1p0", "0x1p+00",
    "0x1.Ap+0", "+0x1p+0", " 0x1p+0", "0x1p+0\n", "0x1p+1024", "0x1p-1075", "0x1.00000000000001p+0", "NaN", "infinity",
    "+inf", "-nan", "0x1.8p-1074", "0x1p+99999", "0x1." + "8" * 500 + "p+0", "٠x1p+0",
)  # fmt: skip


@pytest.mark.parametrize("text", WRONG_HEX)
def test_other_spellings_are_refused(text: str) -> None:
    """One number has one spelling, so that equal files have equal hashes; a text between two doubles is none."""
    assert parse_hex_float(text) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), ("0.7", 0.7), ("-0", -0.0), ("1e39", 1e39), ("1e999", math.inf), ("0x1p-149", 2.0**-149),
     ("18446744073709551615", 18446744073709551615.0), ("nan", math.nan), ("-inf", -math.inf), ("1.50", 1.5)],
)  # fmt: skip
def test_floats_of_a_case(value: object, number: float) -> None:
    """ABI-3: a decimal string means the nearest double, as every host reads it."""
    found = parse_float(value)
    assert found is not None
    assert struct.pack("<d", found) == struct.pack("<d", number) or (math.isnan(found) and math.isnan(number))


@pytest.mark.parametrize("value", [None, True, 1.5, [], "0x", "1.", ".5", "01", "1_0", "1e", "٣", "1 ", "", "1E5", {}])
def test_what_is_no_float(value: object) -> None:
    """Python reads more spellings than the format has."""
    assert parse_float(value) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [(0, 0), (-5, -5), ("18446744073709551615", 2**64 - 1), ("-1", -1), (True, None), ("-0", None), ("007", None),
     ("1" * 500, None), (1.0, None), ("0x10", None), ("٣", None), (None, None)],
)  # fmt: skip
def test_integers(value: object, number: int | None) -> None:
    """An integer is a JSON number or a decimal string in its one spelling."""
    assert parse_integer(value) == number
    assert json_integer(2**53 - 1) == 2**53 - 1
    assert json_integer(2**53) == "9007199254740992"


@given(JSON)
def test_canonical_and_disk_form(value: object) -> None:
    """Both forms are ASCII and read back; the canonical one has no white space outside of strings and no comments."""
    disk = disk_json(value)
    assert json.loads(disk) == value
    assert disk.isascii()
    assert disk.endswith(b"\n")
    canonical = canonical_json({"_comment": value, "value": 1, "list": [{"_x": value}]})
    assert canonical == b'{"list":[{}],"value":1}'
    assert json_hash(value) == hashlib.sha256(canonical_json(value)).hexdigest()


def test_canonical_form_by_hand() -> None:
    """FORMAT section 2, written out: key order by code point, escapes, surrogate pairs."""
    value = {"b": [1, None, True], "a": 'x"\\\n\x01\x7f\u00e9\U0001f98a', "Z": {}, "_a": 2}
    wanted = rb'{"Z":{},"a":"x\"\\\n\u0001\u007f\u00e9\ud83e\udd8a","b":[1,null,true]}'
    assert canonical_json(value) == wanted
    assert bytes_hash(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("type_", "values"), [("<i4", [0, -1, 2**31 - 1]), ("<f4", [0.5, -0.0, math.inf]), ("<i4", [])]
)
def test_arrays_are_what_numpy_saves(type_: str, values: list[float]) -> None:
    """An array file has the bytes of numpy.save and reads back; anything else is refused."""
    array = np.array(values, type_)
    buffer = io.BytesIO()
    np.save(buffer, array)
    data = npy_bytes(array, type_)
    assert data == buffer.getvalue()
    back = parse_npy(data, type_)
    assert back is not None
    assert back.tobytes() == array.tobytes()
    for other in (data[:-1], data + b"\0", data[:8], b"", data.replace(b"False", b"True "), b"\x94" + data[1:]):
        assert parse_npy(other, type_) is None
    assert parse_npy(data, "<i4" if type_ == "<f4" else "<f4") is None
    assert parse_npy(npy_bytes(array.reshape(1, -1)[0], type_), type_) is not None


def test_float32_check() -> None:
    """A double is a float32 when rounding changes nothing."""
    wanted = {0.5: True, 0.1: False, float(np.float32(0.1)): True, 1e39: False, math.inf: True, 2.0**-150: False}
    assert {number: is_float32(number) for number in wanted} == wanted
    assert is_float32(math.nan)
    assert is_float32(2.0**-149)
