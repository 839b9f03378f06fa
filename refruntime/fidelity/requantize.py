"""See a model as another tensor type would store it: every matrix quantised by the `gguf` package and decoded again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from refruntime.model.validated import QuantizedRows, ValidatedModel, WeightSource
from refruntime.quants.ggml import GGML_TYPES, dequantize

_TYPES = {each.name: each for each in GGML_TYPES.values()}


class CannotRequantize(ValueError):
    """No quantiser for this type, or a matrix whose rows do not fill its blocks; the message says which there are."""


def types_to_choose() -> list[str]:
    """Return the names of the types that the `gguf` package can quantise to."""
    return [name for name in _TYPES if _can_quantize(name)]


def requantized(model: ValidatedModel, type_name: str) -> ValidatedModel:
    """Return the model with all matrices as `type_name` would hold them; vectors stay. CannotRequantize."""
    if type_name not in _TYPES or not _can_quantize(type_name):
        raise CannotRequantize(f"no quantiser for {type_name!r}; expected one of {', '.join(types_to_choose())}")
    block = _TYPES[type_name].block_size
    for source in _matrices(model):
        if source.shape[-1] % block:
            raise CannotRequantize(
                f"{source.name} has rows of {source.shape[-1]}; {type_name} wants multiples of {block}"
            )
    tensors = {
        name: Requantized(source, type_name) if len(source.shape) > 1 else source
        for name, source in model.tensors.items()
    }
    return replace(model, tensors=tensors)


@dataclass(frozen=True)
class Requantized:
    """A `WeightSource` that gives the values which its type leaves of another source."""

    source: WeightSource
    type_name: str

    @property
    def name(self) -> str:
        """Return the name of the tensor."""
        return self.source.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the row-major shape."""
        return self.source.shape

    @property
    def storage(self) -> None:
        """Return None: storage is not shared."""

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return the values after a round trip through the type."""
        values = self.source.rows(start, stop)
        raw: NDArray[Any] = gguf.quants.quantize(values, gguf.GGMLQuantizationType(_TYPES[self.type_name].number))
        return dequantize(_TYPES[self.type_name], raw.tobytes(), values.shape)

    def quantized(self) -> QuantizedRows | None:
        """Return None: only SLM1 tensors know the options of FW-4."""
        return None


def _matrices(model: ValidatedModel) -> Iterator[WeightSource]:
    return (source for source in model.tensors.values() if len(source.shape) > 1)


def _can_quantize(name: str) -> bool:
    kind = _TYPES[name]
    if kind.decode is None or kind.block_size == 0:
        return False
    try:
        gguf.quants.quantize(np.zeros((1, kind.block_size), np.float32), gguf.GGMLQuantizationType(kind.number))
    except (NotImplementedError, KeyError, ValueError):
        return False
    return True
