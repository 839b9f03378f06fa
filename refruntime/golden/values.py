"""Values of the golden format: canonical JSON, hashes, hex floats, bytes and arrays (golden/FORMAT.md, section 2)."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

FORMAT_VERSION: Final = 1
DIALECT_FORMAT: Final = 2
"""Format of an index whose build writes its diagnostics at other places or in other forms."""

MAX_JSON_INTEGER: Final = 2**53 - 1

_HEX_FLOAT: Final = re.compile(r"-?0x(?:0p\+0|1(?:\.[0-9a-f]*[1-9a-f])?p[+-](?:0|[1-9][0-9]{0,3}))")
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,4})?")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NAMED: Final = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
MAX_NUMBER_CHARACTERS: Final = 400


# JSON ----------------------------------------------------------------------------------------------------------------


def without_comments(value: Any) -> Any:
    """Return a JSON value without the keys that begin with `_`, at every depth."""
    if isinstance(value, dict):
        return {key: without_comments(item) for key, item in value.items() if not key.startswith("_")}
    return [without_comments(item) for item in value] if isinstance(value, list) else value


def canonical_json(value: Any) -> bytes:
    """Return the canonical form of a JSON value: no comments, sorted keys, no white space, ASCII."""
    text = json.dumps(without_comments(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return text.encode("ascii")


def disk_json(value: Any) -> bytes:
    """Return a JSON value as it lies on disk: sorted keys, one space a level, ASCII, one newline at the end."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode("ascii")


def json_hash(value: Any) -> str:
    """Return the SHA-256 of the canonical form in lower-case hex."""
    return bytes_hash(canonical_json(value))


def bytes_hash(data: bytes) -> str:
    """Return the SHA-256 of bytes in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


# Numbers -------------------------------------------------------------------------------------------------------------


def json_integer(value: int) -> int | str:
    """Return an integer as JSON holds it: a decimal string beyond 2^53 - 1."""
    return value if abs(value) <= MAX_JSON_INTEGER else str(value)


def parse_integer(value: object) -> int | None:
    """Read a JSON integer or a decimal string; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= MAX_NUMBER_CHARACTERS and _INTEGER.fullmatch(value) and value != "-0":
        return int(value)
    return None


def hex_float(value: float | np.floating[Any]) -> str:
    """Return the shortest hex float of a number.

    >>> hex_float(0.75), hex_float(-0.0), hex_float(2.0**-149)
    ('0x1.8p-1', '-0x0p+0', '0x1p-149')
    """
    number = float(value)
    sign = "-" if math.copysign(1.0, number) < 0 and not math.isnan(number) else ""
    if math.isnan(number) or math.isinf(number):
        return sign + ("nan" if math.isnan(number) else "inf")
    if number == 0:
        return sign + "0x0p+0"
    mantissa, exponent = math.frexp(abs(number))  # mantissa in [0.5, 1), exact also for subnormal numbers
    digits = f"{int(math.ldexp(mantissa, 53)) - 2**52:013x}".rstrip("0")
    return f"{sign}0x1{'.' if digits else ''}{digits}p{exponent - 1:+d}"


def parse_hex_float(text: str) -> float | None:
    """Read a hex float in its shortest form; None for any other text, also for one that no double equals."""
    if text in _NAMED:
        return _NAMED[text]
    if len(text) > MAX_NUMBER_CHARACTERS or not _HEX_FLOAT.fullmatch(text):
        return None
    try:
        number = float.fromhex(text)
    except OverflowError:
        return None
    return number if hex_float(number) == text else None


def parse_float(value: object) -> float | None:
    """Read a float of `case.json`: an integer, a decimal string (the nearest double) or a hex float; else None."""
    if isinstance(value, str):
        number = parse_hex_float(value)
        if number is None and len(value) <= MAX_NUMBER_CHARACTERS and _DECIMAL.fullmatch(value):
            number = float(value)
        return number
    integer = parse_integer(value)
    return None if integer is None else float(integer)


def is_float32(number: float) -> bool:
    """Say whether a double is a float32; NaN and infinities are."""
    with np.errstate(over="ignore"):
        return math.isnan(number) or float(np.float32(number)) == number


# Arrays --------------------------------------------------------------------------------------------------------------

ARRAY_TYPES: Final = {"ids.npy": "<i4", "weights.npy": "<f4"}
"""Array file of a case -> the type of its elements."""


def npy_bytes(array: NDArray[Any], type_: str) -> bytes:
    """Return a one-dimensional array as a `.npy` file, version 1.0, little-endian."""
    buffer = io.BytesIO()
    npy_format.write_array(buffer, np.ascontiguousarray(array, dtype=type_), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def parse_npy(data: bytes, type_: str) -> NDArray[Any] | None:
    """Read the elements of a `.npy` file; None unless it is exactly what `npy_bytes` writes for them."""
    start = 10 + int.from_bytes(data[8:10], "little")
    size = np.dtype(type_).itemsize
    if start > len(data) or (len(data) - start) % size:
        return None
    array = np.frombuffer(data, type_, offset=start)
    return array if npy_bytes(array, type_) == data else None
