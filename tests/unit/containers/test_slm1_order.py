"""Of two faults in one SLM1 file the one that SL-1 checks earlier gives the code."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from refruntime.errors import (
    ContractError,
    InvalidHeader,
    InvalidTensorDirectory,
    MissingTensor,
    ShapeMismatch,
    UnsupportedDType,
    UnsupportedModelVersion,
)
from tests.support.slm1_by_hand import (
    ENTRY_FIELDS,
    HEADER_FIELDS,
    Q8_0,
    build,
    entry_offset,
    entry_value,
    fix_checksum,
    model_tensors,
)
from tests.support.slm1_refusals import load_refusal

Change = Callable[[bytearray], object]


def set_header(name: str, value: float) -> Change:
    offset, code = HEADER_FIELDS[name]
    return lambda file: struct.pack_into(code, file, offset, value)


def set_entry(tensor_name: str, field: str, value: int) -> Change:
    offset, code = ENTRY_FIELDS[field]
    start = entry_offset(build(model_tensors(Q8_0)), tensor_name)  # where it is before anything is broken
    return lambda file: struct.pack_into(code, file, start + offset, value)


def set_scale(file: bytearray) -> None:
    struct.pack_into("<f", file, entry_value(build(model_tensors(Q8_0)), "norm.weight", "scale_offset"), -1.0)


def odd_head(file: bytearray) -> None:
    for name, value in (("head_count", 2), ("kv_head_count", 2), ("head_dim", 1)):
        set_header(name, value)(file)


ORDER: list[tuple[Change, type[ContractError], str]] = [
    (set_header("version", 2), UnsupportedModelVersion, "version"),
    (set_header("header_length", 2**31), InvalidHeader, "header_length"),
    (set_header("ffn_size", 0), InvalidHeader, "ffn_size"),
    (set_header("head_dim", 3), InvalidHeader, "hidden_size"),
    (set_header("rope_theta", math.nan), InvalidHeader, "rope_theta"),
    (set_header("rms_norm_epsilon", 0.0), InvalidHeader, "rms_norm_epsilon"),
    (set_header("tokenizer_length", 2**40), InvalidHeader, "tokenizer_offset"),
    (set_header("tensor_count", 2**31), InvalidHeader, "tensor_directory_offset"),
    (set_header("tensor_data_offset", 1), InvalidHeader, "tensor_data_offset"),
    (set_header("checksum", 1), InvalidHeader, "checksum"),
    (set_entry("tok_embeddings.weight", "dtype", 9), UnsupportedDType, "dtype"),
    (set_entry("layers.0.wq.weight", "rank", 9), InvalidTensorDirectory, "rank"),
    (set_entry("layers.0.wk.weight", "byte_offset", 2**40), InvalidTensorDirectory, "byte_offset"),
    (set_entry("layers.0.wv.weight", "scale_offset", 2**40), InvalidTensorDirectory, "scale_offset"),
    (lambda file: file.__setitem__(112, 2), InvalidHeader, "version"),  # of the BTOK section
    (set_entry("output.weight", "name_hash", 1), MissingTensor, "tensor_directory"),
    (set_entry("layers.0.w1.weight", "dim0", 3), ShapeMismatch, "dims"),
    (set_scale, ShapeMismatch, "scales"),
    (set_header("kv_head_count", 7), ShapeMismatch, "kv_head_count"),
    (odd_head, ShapeMismatch, "head_dim"),
]
"""Faults in the order in which SL-1 looks for them."""


def test_earlier_fault_wins() -> None:
    """SL-1, SL-6: of every two faults the one that is checked earlier gives the code."""
    good = bytes(build(model_tensors(Q8_0)))
    for early in range(len(ORDER)):
        for late in range(early, len(ORDER)):
            file = bytearray(good)
            ORDER[late][0](file)
            ORDER[early][0](file)
            if ORDER[early][2] != "checksum":
                fix_checksum(file)
                if ORDER[late][2] == "checksum":
                    set_header("checksum", 1)(file)
            _, kind, field = ORDER[early]
            error = load_refusal(file, kind)
            assert error.field == field, f"{field} and {ORDER[late][2]} together gave {error}"
