"""Section 5 of the contract: what set_sampling_config accepts, refuses and leaves alone."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest

from tests.contract.host import Host
from tests.contract.models import story_model, table_model

F32_MAX = float(np.finfo(np.float32).max)
SMALLEST = 2.0**-149
GOOD = {"temperature": 0.5, "top_k": 40, "top_p": 0.75, "seed": 5}
VALID: list[tuple[str, float]] = [
    ("temperature", 0.0),
    ("temperature", -0.0),
    ("temperature", SMALLEST),
    ("temperature", F32_MAX),
    ("temperature", -1e-60),  # becomes -0.0 on the way in
    ("top_k", 1),
    ("top_k", 1024),
    ("top_k", 2**32 + 1),
    ("top_k", 1024.9),
    ("top_p", 1.0),
    ("top_p", SMALLEST),
    ("top_p", 1.00000001),  # becomes 1 on the way in
    ("seed", 0),
    ("seed", 2**64 - 1),
    ("seed", -1),
]
INVALID: list[tuple[str, float]] = [
    ("temperature", -SMALLEST),
    ("temperature", -1.0),
    ("temperature", math.nan),
    ("temperature", math.inf),
    ("temperature", -math.inf),
    ("temperature", 3.5e38),  # becomes infinity on the way in
    ("top_k", 0),
    ("top_k", 1025),
    ("top_k", 2**32 - 1),
    ("top_k", -1),
    ("top_k", 0.9),
    ("top_k", 2**32),
    ("top_p", 0.0),
    ("top_p", -0.0),
    ("top_p", -0.5),
    ("top_p", 1 + 2.0**-23),
    ("top_p", 1e-46),  # becomes 0 on the way in
    ("top_p", math.nan),
    ("top_p", math.inf),
]


def configure(host: Host, **values: Any) -> int:
    chosen = GOOD | values
    return host.abi.set_sampling_config(chosen["temperature"], chosen["top_k"], chosen["top_p"], chosen["seed"])


def configuration(host: Host) -> tuple[bytes, int, bytes, str]:
    """Return what the diagnostics tell, the float32 values as their bytes."""
    document = host.diagnostics
    temperature, top_p = (struct.pack("<f", float(document[name])) for name in ("temperature", "top_p"))
    return temperature, document["top_k"], top_p, document["seed"]


@pytest.mark.parametrize(("field", "value"), VALID)
def test_valid_configuration(field: str, value: float) -> None:
    """SC-1, SC-2, ABI-3, ST-9: accepted without a model; the result stays, the diagnostics tell the new values."""
    host = Host()
    assert configure(host, **{field: value}) == 0
    assert host.result == b""
    shown = dict(zip(("temperature", "top_k", "top_p", "seed"), configuration(host), strict=True))
    if field in ("temperature", "top_p"):
        with np.errstate(all="ignore"):
            # -0.0 equals 0, so the sign is not looked at.
            assert struct.unpack("<f", shown[field])[0] == np.float32(value)  # type: ignore[arg-type]
    elif field == "top_k":
        assert shown["top_k"] == int(value) % 2**32
    else:
        assert shown["seed"] == str(int(value) % 2**64)


@pytest.mark.parametrize(("field", "value"), INVALID)
def test_invalid_configuration(field: str, value: float) -> None:
    """ERR-1, SC-2, ABI-3: 2, and the whole old configuration stays, also the fields that were valid."""
    host = Host()
    assert configure(host) == 0
    before = configuration(host)
    values = {"temperature": 0.125, "top_k": 3, "top_p": 0.25, "seed": 8} | {field: value}
    assert configure(host, **values) == 2
    assert configuration(host) == before
    assert host.abi.last_failure is not None
    assert host.abi.last_failure.field == field


def test_configuration_survives_everything() -> None:
    """SC-1, ST-5, ST-6: load, failed load, reset, free and generation keep the configuration."""
    host = Host()
    assert configure(host) == 0
    expected = configuration(host)
    calls = [
        lambda: host.load(story_model()),
        lambda: host.generate(b"a", 1),
        host.abi.reset_context,
        lambda: host.load(b"rubbish"),
        host.abi.free_model,
        host.abi.init_runtime,
    ]
    for call in calls:
        call()
        assert configuration(host) == expected


def test_negative_zero_temperature_is_greedy() -> None:
    """SC-2, SA-1: -0.0 equals 0."""
    host = Host(model=table_model({}, otherwise={ord("0"): 0.0, ord("1"): 0.0}, capacity=64))
    assert host.abi.set_sampling_config(-0.0, 2, 1.0, 3) == 0
    assert host.generate(b"?", 30) == 0
    assert host.result == b"0" * 30


def test_seed_must_be_an_integer() -> None:
    """ABI-3: a JavaScript host refuses a Number for an i64 parameter before the module is entered."""
    host = Host()
    with pytest.raises(TypeError, match="BigInt"):
        host.abi.set_sampling_config(0, 1, 1, 1.0)
    assert host.abi.runtime is None
