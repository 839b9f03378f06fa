"""Options of the SLM1 loader: statuses that a build may choose otherwise, and what it may leave unchecked."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from refruntime.contract import Profile
from refruntime.errors import ContractError
from tests.contract.host import Host
from tests.support.slm1_by_hand import Q4_0, Q8_0, build, fix_checksum, model_tensors, patch_entry, patch_header, tensor
from tests.support.slm1_refusals import load


def status(file: bytes | bytearray, **options: Any) -> int:
    """Return the status of a load under a profile; 0 where the model is valid."""
    try:
        load(file, Profile(**options))
    except ContractError as error:
        return int(error.status)
    return 0


def changed_header(**fields: Any) -> bytearray:
    return fix_checksum(patch_header(build(), fields))


def test_uneven_heads() -> None:
    """SL-1: head_count x head_dim that is not hidden_size gives 6 or 9, before the checksum in both cases."""
    file = patch_header(build(), {"head_count": 3})
    assert status(file) == 6
    assert status(file, uneven_heads="9") == 9
    assert status(patch_header(build(), {"version": 2, "head_count": 3}), uneven_heads="9") == 5


def test_unequal_key_value_heads() -> None:
    """SL-1: a kv_head_count that is not head_count gives 9 or 6, after shapes in both cases."""
    file = changed_header(kv_head_count=3)
    assert status(file) == 9
    assert status(file, unequal_kv_heads="6") == 6
    shapeless = patch_entry(changed_header(kv_head_count=3), "norm.weight", dim0=3)
    assert status(shapeless, unequal_kv_heads="6") == 9


@pytest.mark.parametrize("field", ["rope_theta", "rms_norm_epsilon"])
@pytest.mark.parametrize("value", [0.0, -0.0, -1.0, math.inf, -math.inf, math.nan])
def test_constants_that_are_not_checked(field: str, value: float) -> None:
    """SL-1: theta and epsilon must be finite and positive, or may be anything; then a generation still ends."""
    file = changed_header(**{field: value})
    assert status(file) == 6
    assert status(file, header_constants="not checked") == 0
    host = Host(Profile(header_constants="not checked"), model=bytes(file))
    assert host.generate(b"ab", 3) in (0, 3)
    assert host.diagnostics["kv_length"] in (0, 3, 4, 5, 6)


def test_data_offset_past_the_end() -> None:
    """SL-1: a tensor_data_offset beyond the file gives 6 or nothing; it stays a multiple of 64."""
    size = len(build())
    beyond = -(-size // 64) * 64 + 64
    assert status(changed_header(tensor_data_offset=beyond)) == 6
    assert status(changed_header(tensor_data_offset=beyond), data_offset_past_end="not checked") == 0
    assert status(changed_header(tensor_data_offset=beyond + 1), data_offset_past_end="not checked") == 6


@pytest.mark.parametrize("dtype", [Q8_0, Q4_0])
@pytest.mark.parametrize("name", ["output.weight", "norm.weight"])
def test_scales_without_a_place(dtype: int, name: str) -> None:
    """SL-6, SL-2: scales that run past the end, or have offset 0, give 9 or 7 when the tensor is used."""
    size = len(build(model_tensors(dtype)))
    length = {"output.weight": 4 * 260, "norm.weight": 4}[name]

    def with_scales_at(offset: int, **entry: int) -> bytearray:
        file = build(model_tensors(dtype))
        return fix_checksum(patch_entry(file, name, scale_offset=offset, **entry))

    for offset in (size - length + 1, size - 1, 0):
        assert status(with_scales_at(offset)) == 9
        assert status(with_scales_at(offset, dim0=3), scales_past_end="7") == 9  # shape first
        assert status(with_scales_at(offset, block_size=1), scales_past_end="7") == 9  # block_size first
        assert status(with_scales_at(offset, byte_length=3), scales_past_end="7") == 9  # length first
        assert status(with_scales_at(offset), scales_past_end="7") == 7


def test_the_last_scale_may_be_the_last_of_the_file() -> None:
    """SL-6, SL-2: a rank-1 tensor has the one scale of its row, which may end with the file."""
    file = build(model_tensors(Q8_0))
    end = len(file) - 4
    struct.pack_into("<f", file, end, 1.0)
    assert status(fix_checksum(patch_entry(file, "norm.weight", scale_offset=end))) == 0


def test_extra_tensors_may_have_scales_without_a_place() -> None:
    """SL-6, CL-slm1: a tensor that is not used is not looked at any further."""
    file = build([*model_tensors(), tensor("an.extra", (1, 1, 1, 4), Q8_0)])
    patch_entry(file, "an.extra", dim0=2**31, dim1=2**31, dim2=2**31, scale_offset=0)
    assert status(fix_checksum(file)) == 0
