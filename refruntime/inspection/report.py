"""What an inspection found, as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from refruntime.errors import ContractError
from refruntime.model.validated import Hyperparameters
from refruntime.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class MetadataLine:
    """One key of a GGUF file; `value` holds only the first elements of an array of `count`."""

    key: str
    type: str
    offset: int
    count: int
    value: Any


@dataclass(frozen=True)
class TensorLine:
    """One tensor entry: row-major shape, absolute offset and length in bytes; `note` says what is unusual."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    byte_length: int
    elements: int
    note: str = ""


@dataclass(frozen=True)
class TypeCount:
    """How many tensors, elements and bytes are stored in one type."""

    type: str
    tensors: int
    elements: int
    byte_length: int


@dataclass(frozen=True)
class TokenizerLine:
    """The tokenizer in short."""

    kind: str
    vocab_size: int
    eos_id: int | None
    stop_ids: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        """Describe a tokenizer."""
        return cls(tokenizer.kind, tokenizer.vocab_size, tokenizer.eos_id, tuple(sorted(tokenizer.stop_ids)))


@dataclass
class Inspection:
    """A file as far as it could be read; `error` is the failure that `load_model` reports, None for a valid model.

    `header` holds the fixed fields of the container in file order. `notes` says where reading stopped and why.
    """

    container: str
    byte_length: int
    header: dict[str, Any] = field(default_factory=dict)
    metadata: list[MetadataLine] = field(default_factory=list)
    tensors: list[TensorLine] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tokenizer: TokenizerLine | None = None
    hyperparameters: Hyperparameters | None = None
    quantization: str | None = None
    error: ContractError | None = None

    @property
    def types(self) -> list[TypeCount]:
        """Count tensors, elements and bytes by stored type, most elements first."""
        return census(self.tensors)


def census(tensors: Iterable[TensorLine]) -> list[TypeCount]:
    """Sum up tensors by type, most elements first, then by name."""
    by_type: dict[str, list[TensorLine]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.type, []).append(tensor)
    counts = [
        TypeCount(name, len(group), sum(each.elements for each in group), sum(each.byte_length for each in group))
        for name, group in by_type.items()
    ]
    return sorted(counts, key=lambda count: (-count.elements, count.type))
