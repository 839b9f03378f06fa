"""Buffers that cannot exist on wasm32 are refused before anything is allocated."""

from __future__ import annotations

import dataclasses

import pytest

from refruntime.contract import Profile, Status
from refruntime.errors import ContractError
from refruntime.model.hyperparameters import Hyperparameters, RopeParameters
from refruntime.model.kv_cache import check_buffers

SMALL = Hyperparameters(
    architecture="slm1",
    vocab_size=260,
    hidden_size=8,
    layer_count=2,
    head_count=4,
    kv_head_count=2,
    head_dim=2,
    ffn_size=16,
    max_context=32,
    rope=RopeParameters(10000.0),
    rms_norm_epsilon=2.0**-17,
)

LONG = 2**26 - 1  # positions: 2 layers x 2 heads x 2 components x 4 bytes make 32 bytes each
LARGEST = {  # the largest that fits, and by how much each number grows to fit no more
    "keys": ({"max_context": LONG}, {"max_context": 1}),
    "keys of many heads": ({"max_context": 1, "kv_head_count": 2**27 - 1}, {"kv_head_count": 1}),
    "keys of large heads": ({"max_context": 1, "head_dim": 2**27 - 1}, {"head_dim": 1}),
    "keys of many layers": ({"max_context": 1, "layer_count": 2**27 - 1}, {"layer_count": 1}),
    "scratch": ({"hidden_size": 1, "ffn_size": (2**29 - 1 - 10 - 32) // 3}, {"ffn_size": 1}),
    "logits": ({"vocab_size": 2**29 - 1}, {"vocab_size": 1}),
}


OPTIONS = {
    "6": Status.InvalidHeader,
    "2": Status.InvalidLength,
    "9": Status.ShapeMismatch,
    "13": Status.GenerationFailed,
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_buffers(name: str) -> None:
    """CL-statuses: a buffer of 2147483647 bytes may exist, a longer one gives 6, or another status, and is named."""
    fitting, growth = LARGEST[name]
    largest = dataclasses.replace(SMALL, **fitting)
    check_buffers(largest, Profile())
    larger = dataclasses.replace(largest, **{key: fitting[key] + more for key, more in growth.items()})
    for option, status in OPTIONS.items():
        with pytest.raises(ContractError) as caught:
            check_buffers(larger, Profile(oversized_buffer=option))  # type: ignore[arg-type]
        assert caught.value.status is status
        assert caught.value.field == name.split()[0]
        assert caught.value.rule == "CL-statuses"
