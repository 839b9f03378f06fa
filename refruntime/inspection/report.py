"""What an inspection found, as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from refruntime.errors import ContractError
from refruntime.model.hyperparameters import Hyperparameters
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.bpe import BpeTokenizer
from refruntime.tokenizers.byte_ids import BOS
from refruntime.tokenizers.spm import SpmTokenizer
from refruntime.tokenizers.word_pieces import WordPieceTokenizer


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
    """The tokenizer in short; `stop_texts` are the texts of `stop_ids`, `pre_tokenizer` is None where there is none."""

    kind: str
    vocab_size: int
    bos_id: int | None
    eos_id: int | None
    adds_bos: bool
    adds_eos: bool
    stop_ids: tuple[int, ...]
    stop_texts: tuple[str, ...]
    pre_tokenizer: str | None = None

    @classmethod
    def of(cls, tokenizer: Tokenizer, pre_tokenizer: str | None = None) -> Self:
        """Describe a tokenizer."""
        stop_ids = tuple(sorted(tokenizer.stop_ids))
        if isinstance(tokenizer, SpmTokenizer | BpeTokenizer):
            texts = tuple(tokenizer.vocabulary.texts[token].decode("utf-8", "surrogateescape") for token in stop_ids)
            bos_id, adds_bos, adds_eos = tokenizer.bos_id, tokenizer.adds_bos, tokenizer.adds_eos
        elif isinstance(tokenizer, WordPieceTokenizer):
            texts, bos_id, adds_bos, adds_eos = tuple[str, ...](), tokenizer.bos_id, True, True
        else:  # SL-8, SL-10: both stand around the text; the last EOS of a prompt is removed (GEN-2)
            texts, bos_id, adds_bos, adds_eos = ("EOS",), BOS, True, True
        return cls(
            tokenizer.kind,
            tokenizer.vocab_size,
            bos_id,
            tokenizer.eos_id,
            adds_bos,
            adds_eos,
            stop_ids,
            texts,
            pre_tokenizer,
        )


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
