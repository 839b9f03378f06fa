"""Read single hyper-parameters from GGUF metadata: sizes, positive constants, factors; InvalidHeader names the key."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final, TypeVar

from numpy.typing import NDArray

from refruntime.containers.gguf import GgufMetadata, ValueType
from refruntime.errors import InvalidHeader

Neutral = TypeVar("Neutral", float, float | None)

DRAFTING: Final = "nextn_predict_layers"
"""Key for the number of layers behind the others that draft tokens, which a forward pass leaves out."""


def size(metadata: GgufMetadata, key: str, default: int | None = None) -> int:
    """Read a size of at least 1."""
    value = metadata.u32(key, default)
    if value == 0:
        raise invalid("a dimension is zero", key, "at least 1", value)
    return value


def positive(metadata: GgufMetadata, key: str, default: float | None = None) -> float:
    """Read a finite constant greater than 0."""
    value = metadata.f32(key, default)
    if not isfinite(value) or value <= 0:
        raise invalid("a constant is not usable", key, "finite and greater than 0", value)
    return value


def factor(metadata: GgufMetadata, key: str, neutral: Neutral, default: float = 0.0) -> float | Neutral:
    """Read a factor that is not negative; 0 means that there is none, as in llama.cpp: `neutral`."""
    value = metadata.f32(key, default)
    if not isfinite(value) or value < 0:
        raise invalid("a constant is not usable", key, "finite and not negative", value)
    return value or neutral


def values_per_layer(metadata: GgufMetadata, key: str, layer_count: int, *others: ValueType) -> NDArray[Any] | None:
    """Read one 32-bit integer, or value of the `others`, for each layer; None for a single value or none."""
    field = metadata.fields.get(key)
    if field is None or field.type is not ValueType.ARRAY:
        return None
    values = metadata.numbers(key, ValueType.UINT32, ValueType.INT32, *others)
    stored = layer_count + metadata.u32(key.partition(".")[0] + "." + DRAFTING, 0)
    if len(values) != stored:
        raise invalid("an array has not one value for each layer", key, f"{stored} values", len(values))
    return values[:layer_count]


def size_of_all_layers(metadata: GgufMetadata, key: str, layer_count: int, default: int | None = None) -> int:
    """Read a size that llama.cpp also takes as an array of one value for each layer; the values must be equal."""
    values = values_per_layer(metadata, key, layer_count)
    if values is None:
        return size(metadata, key, default)
    if not (values == values[0]).all():
        raise invalid("layers of different sizes are not supported", key, "equal values", values.tolist()[:8])
    if values[0] <= 0:
        raise invalid("a dimension is zero", key, "at least 1", int(values[0]))
    return int(values[0])


def invalid(detail: str, key: str, expected: object, found: object) -> InvalidHeader:
    """Make the failure that names a key."""
    return InvalidHeader(detail, rule="GG-4", field=key, expected=expected, found=found)
