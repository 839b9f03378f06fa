"""Read numbers that an engine wrote to a file: .npy, .npz, .json, .safetensors.

Logits [T, V] are called `logits` (or `logprobs`, which are log probabilities), the ids of the text `ids` or `tokens`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SAFETENSORS: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1"}
LOGITS: Final = ("logits", "scores")
LOG_PROBABILITIES: Final = ("logprobs", "log_probabilities", "log_probs")
IDS: Final = ("ids", "tokens", "input_ids")


class UnreadableNumbers(ValueError):
    """A file that does not hold what is read from it; the message says what was expected."""


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file by name; that of an .npy file is `logits`. OSError, UnreadableNumbers."""
    kind = path.suffix.lower()
    try:
        if kind == ".npy":
            return {LOGITS[0]: np.load(path, allow_pickle=False)}
        if kind == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        if kind == ".json":
            return _read_json(json.loads(path.read_bytes()))
        if kind == ".safetensors":
            return _read_safetensors(path.read_bytes())
    except OSError:
        raise
    except (ValueError, KeyError, TypeError, EOFError, RecursionError) as error:
        raise UnreadableNumbers(f"{path}: {error}") from error
    raise UnreadableNumbers(f"{path}: expected .npy, .npz, .json or .safetensors")


def _read_json(document: Any) -> dict[str, NDArray[Any]]:
    if isinstance(document, list):
        document = {LOGITS[0]: document}
    if not isinstance(document, Mapping):
        raise UnreadableNumbers("expected an object with logits and ids, or a list of rows")
    arrays = {}
    for name, value in document.items():
        if isinstance(value, list):
            numbers = np.array(value)
            if numbers.dtype.kind in "iuf":
                arrays[name] = numbers
    return arrays


def _read_safetensors(data: bytes) -> dict[str, NDArray[Any]]:
    """Read the format of safetensors: the length of a JSON header, the header, the numbers."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise UnreadableNumbers(f"the header claims {length} bytes, the file has {len(data)}")
    header, body = json.loads(data[8 : 8 + length]), memoryview(data)[8 + length :]
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in SAFETENSORS:
            raise UnreadableNumbers(f"tensor {name} has type {entry['dtype']}; known are {', '.join(SAFETENSORS)}")
        begin, end = entry["data_offsets"]
        dtype, shape = np.dtype(SAFETENSORS[entry["dtype"]]), tuple(entry["shape"])
        if not 0 <= begin <= end <= len(body) or end - begin != math.prod(shape) * dtype.itemsize:
            raise UnreadableNumbers(f"tensor {name} lies at {begin} .. {end}, which does not fit its shape or the file")
        values = np.frombuffer(body[begin:end], dtype).reshape(shape)
        if entry["dtype"] == "BF16":
            values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
        arrays[name] = values
    return arrays


def rows_of(arrays: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], bool]:
    """Return the rows [T, V] and whether they are log probabilities; UnreadableNumbers where there are none."""
    for names, logarithms in ((LOGITS, False), (LOG_PROBABILITIES, True)):
        for name in names:
            if name in arrays:
                rows = arrays[name]
                rows = rows.reshape(rows.shape[-2:]) if rows.ndim == 3 and rows.shape[0] == 1 else np.atleast_2d(rows)
                if rows.ndim != 2 or rows.dtype.kind not in "fiu" or not rows.size:
                    raise UnreadableNumbers(
                        f"{name} has shape {rows.shape} and type {rows.dtype}; expected numbers [T, V]"
                    )
                return rows, logarithms
    known = ", ".join(sorted(arrays)) or "nothing"
    raise UnreadableNumbers(f"there are no logits: expected {' or '.join(LOGITS + LOG_PROBABILITIES)}, found {known}")


def ids_of(arrays: Mapping[str, NDArray[Any]]) -> list[int] | None:
    """Return the ids of a file, None where it has none."""
    for name in IDS:
        if name in arrays and arrays[name].dtype.kind in "iu":
            return [int(token) for token in arrays[name].reshape(-1)]
    return None
