"""Numbers that people's own code passes: any integer or float type, NumPy's too, and nothing that is only like one."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from refruntime.sampling import SamplingConfig
from refruntime.session.state import SessionError


def whole(name: str, value: Any, least: int | None = None) -> int:
    """Return an integer of any integer type, NumPy's too. SessionError for another value, or one below `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise SessionError(f"{name}: expected an integer, found {value!r}") from None
    if least is not None and number < least:
        raise SessionError(f"{name}: expected at least {least}, found {number}")
    return number


def real(name: str, value: Any) -> float:
    """Return a number as a float; -inf, inf and NaN too. SessionError for what is no number."""
    if isinstance(value, str | bytes):
        raise SessionError(f"{name}: expected a number, found {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise SessionError(f"{name}: expected a number, found {value!r}") from None


def changed_sampling(old: SamplingConfig, values: Mapping[str, Any]) -> SamplingConfig:
    """Return a configuration with other values by name. SessionError for what is no number, InvalidLength (SC-2)."""
    new = {**old.to_dict(), **values}
    temperature, top_k = real("temperature", new["temperature"]), whole("top_k", new["top_k"])
    return SamplingConfig.validated(temperature, top_k, real("top_p", new["top_p"]), whole("seed", new["seed"]))
