"""Check that a GGUF file holds a model: hyper-parameters, tokenizer, tensors, shapes (GG-4, section 13 "GGUF")."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.containers.gguf import GgufFile, GgufTensor, ValueType
from refruntime.containers.gguf_metadata import printable
from refruntime.contract.profile import Profile
from refruntime.errors import InvalidHeader, MissingTensor, ShapeMismatch
from refruntime.model.architectures import ARCHITECTURES
from refruntime.model.architectures.encoders import ENCODERS
from refruntime.model.gguf.hyperparameters import read_architecture, read_hyperparameters
from refruntime.model.gguf.tokenizer import read_tokenizer
from refruntime.model.hyperparameters import Hyperparameters
from refruntime.model.layout.architecture import layout_within
from refruntime.model.layout.encoder import encoder_layout_within
from refruntime.model.layout.tree import expected_tensors
from refruntime.model.validated import QuantizedRows, ValidatedModel
from refruntime.quants.ggml import GGML_TYPES, GgmlType, StoredRows, dequantize

_DRAFTING_TENSOR: Final = re.compile(
    r"blk\.(?P<layer>0|[1-9][0-9]*)\.(nextn\.(eh_proj|enorm|hnorm|embed_tokens|shared_head_head|shared_head_norm)"
    r"|attn_(q|k|v|qkv|output|norm|q_norm|k_norm)|post_attention_norm"
    r"|ffn_(gate|up|down|gate_inp|gate_inp_shexp|(gate|up|down)_shexp|(gate|up|down|gate_up)_exps))\.(weight|bias)"
)
"""What a layer that drafts tokens consists of."""


@dataclass(frozen=True)
class GgufWeight:
    """One used tensor of a GGUF file, decoded on demand from the memory of the file."""

    name: str
    shape: tuple[int, ...]
    type: GgmlType
    payload: memoryview

    @property
    def storage(self) -> None:
        """Return None: no two tensors of a GGUF file name the same bytes (GG-3)."""

    @property
    def type_name(self) -> str:
        """Return the lower-case ggml name of the stored type."""
        return self.type.name

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return the float32 values in `shape`, exactly those of ggml's `to_float` (GG-8), or some rows of a matrix.

        Of a stack of matrices (experts) the rows are whole matrices.
        """
        if len(self.shape) == 1:
            return dequantize(self.type, self.payload, self.shape)
        first, last, _ = slice(start, stop).indices(self.shape[0])
        stride = len(self.payload) // self.shape[0]  # bytes of a row
        part = self.payload[first * stride : last * stride]
        return dequantize(self.type, part, (last - first, *self.shape[1:]))

    def stored(self) -> StoredRows:
        """Return the bytes of the matrix; of a stack of matrices a row is a whole matrix."""
        return StoredRows(self.type, np.frombuffer(self.payload, np.uint8).reshape(self.shape[0], -1))

    def quantized(self) -> QuantizedRows | None:
        """Return None: a GGUF weight is always dequantized first (GG-8)."""
        return None


def validate_gguf(file: GgufFile, profile: Profile, *, encoder: bool = False) -> ValidatedModel:
    """Check everything behind the tensor directory in the order of section 13; no weight is decoded.

    With `encoder` the file has to hold one (GG-15), else anything but one.

    Errors: InvalidHeader (architecture, hyper-parameters, tokenizer), MissingTensor, ShapeMismatch (wrong shapes, and
    tensors that the architecture does not use, whose number llama.cpp checks too).
    """
    with file.metadata.located():
        architecture = read_architecture(file.metadata, profile, ENCODERS if encoder else ARCHITECTURES)
        hyperparameters = read_hyperparameters(file.metadata, architecture, profile, file.tensors)
        _refuse_splits(file)
        tokenizer = read_tokenizer(file.metadata, profile, word_pieces=encoder)
    used: list[tuple[GgufTensor, tuple[int, ...]]] = []
    within = encoder_layout_within if encoder else layout_within
    expected = expected_tensors(within(architecture, hyperparameters, file.tensors))
    for name, shape, required in expected:  # stops at the first absent one
        tensor = file.tensors.get(name)
        if tensor is not None:
            used.append((tensor, shape))
        elif required:
            raise MissingTensor("a required tensor is absent", rule="GG-4", tensor=name, expected=list(shape))
    weights: dict[str, GgufWeight] = {}
    for tensor, shape in used:
        if _without_trailing_ones(tensor.dimensions) != _without_trailing_ones(shape[::-1]):
            raise ShapeMismatch(
                "the tensor has another shape",
                rule="GG-4",
                tensor=tensor.name,
                field="dimensions",
                offset=tensor.entry_offset,
                expected=list(shape),
                found=list(tensor.shape),
            )
        weights[tensor.name] = GgufWeight(tensor.name, shape, tensor.type, file.tensor_bytes(tensor))
    for name, tensor in file.tensors.items():
        if name not in weights and not _drafts(name, hyperparameters):
            raise ShapeMismatch(
                "the architecture does not use this tensor, so it would change the arithmetic",
                rule="GG-4",
                tensor=printable(name),
                offset=tensor.entry_offset,
                expected=f"only the {len(weights)} tensors of {hyperparameters.architecture}",
                found=f"{len(file.tensors)} tensors",
            )
    label = quantization_label(file)
    return ValidatedModel("gguf", hyperparameters, weights, tokenizer, label, architecture)


def _drafts(name: str, sizes: Hyperparameters) -> bool:
    """Say whether a tensor belongs to a layer that drafts tokens, which a forward pass leaves out."""
    match = _DRAFTING_TENSOR.fullmatch(name)
    return match is not None and 0 <= int(match["layer"]) - sizes.layer_count < sizes.drafting_layers


def quantization_label(file: GgufFile) -> str:
    """Return the name of the type that holds most elements, of equals the lower type number (GG-9); `none` if empty."""
    elements: Counter[int] = Counter()
    for tensor in file.tensors.values():
        elements[tensor.type.number] += tensor.element_count
    if not elements:
        return "none"
    return GGML_TYPES[min(elements, key=lambda number: (-elements[number], number))].name


def _without_trailing_ones(dimensions: tuple[int, ...]) -> tuple[int, ...]:
    """Drop trailing dimensions of 1, which equal none (section 13)."""
    end = len(dimensions)
    while end and dimensions[end - 1] == 1:
        end -= 1
    return dimensions[:end]


def _refuse_splits(file: GgufFile) -> None:
    field = file.metadata.fields.get("split.count")
    if field is not None and (field.type is not ValueType.UINT16 or field.value not in (0, 1)):
        raise InvalidHeader(
            "the model is split into several files",
            rule="GG-4",
            field="split.count",
            offset=field.offset,
            expected="0 or 1, as u16",
            found=field.value if field.type is ValueType.UINT16 else field.type_name,
        )
