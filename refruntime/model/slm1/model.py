"""Check that an SLM1 file holds a model: tokenizer, required tensors, shapes, scales (SL-1 to SL-9, CL-slm1)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.containers.slm1 import Slm1File
from refruntime.containers.slm1_format import (
    ENTRY_OFFSETS,
    HEADER_OFFSETS,
    DType,
    Slm1Header,
    Slm1Parameters,
    TensorEntry,
    block_size_fits,
    payload_length,
    scale_count,
)
from refruntime.contract.profile import Profile
from refruntime.errors import ContractError, InvalidHeader, InvalidTensorDirectory, MissingTensor, ShapeMismatch
from refruntime.model.hyperparameters import Hyperparameters, RopeParameters
from refruntime.model.validated import QuantizedRows, ValidatedModel
from refruntime.quants.slm1 import dequantize, unpack_q4_0
from refruntime.tokenizers import bpe1_section, btok
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.bpe1 import Bpe1Tokenizer
from refruntime.tokenizers.btok import BtokTokenizer

_LAYER_NAMES: Final = (
    ("attn_norm.weight", "attn_norm.weight", "H"),
    ("ffn_norm.weight", "ffn_norm.weight", "H"),
    ("wq.weight", "attn_q.weight", "HH"),
    ("wk.weight", "attn_k.weight", "HH"),
    ("wv.weight", "attn_v.weight", "HH"),
    ("wo.weight", "attn_output.weight", "HH"),
    ("w1.weight", "ffn_gate.weight", "FH"),
    ("w2.weight", "ffn_down.weight", "HF"),
    ("w3.weight", "ffn_up.weight", "FH"),
)
"""Name in SLM1, name in the validated model, shape (SL-3)."""


@dataclass(frozen=True, eq=False)
class Slm1Weight:
    """One used tensor of an SLM1 file, decoded on demand from the memory of the file."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    block_size: int
    payload: memoryview
    scales: NDArray[np.float32]
    place: tuple[int, int]  # offsets of payload and scales; payloads may overlap, also entirely

    @property
    def storage(self) -> Hashable:
        """Return what tensors that name the same bytes in the same way have in common."""
        return self.place, self.shape, self.dtype, self.block_size

    @property
    def type_name(self) -> str:
        """Return the lower-case name of the stored type."""
        return self.dtype.label

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return the float32 values in `shape`, quantised ones as value x scale rounded once (FW-1), or some rows."""
        count = self.shape[0] if len(self.shape) == 2 else 1  # a vector is one row
        first, last, _ = slice(start, stop).indices(count)
        shape = (last - first, *self.shape[1:]) if len(self.shape) == 2 else self.shape
        stride = len(self.payload) // count  # bytes of a row
        payload = self.payload[first * stride : last * stride]
        if self.dtype is DType.F32:
            return np.frombuffer(payload, "<f4").astype(np.float32).reshape(shape)
        scales = self.scales[first:last]  # [rows, blocks]
        values = self.integers(payload).reshape(*scales.shape, self.block_size)  # [rows, blocks, block]
        return dequantize(values, scales).reshape(shape)

    def quantized(self) -> QuantizedRows | None:
        """Return values [out, in] and scales [out, in / block_size] of a quantised matrix, else None (FW-4)."""
        if self.dtype is DType.F32 or len(self.shape) != 2:
            return None
        return QuantizedRows(self.integers(self.payload).reshape(self.shape), self.scales, self.block_size)

    def integers(self, payload: memoryview) -> NDArray[np.int8]:
        """Return the stored integers of some rows of a quantised tensor (SL-2); a joint of a variation."""
        if self.dtype is DType.Q8_0:
            return np.frombuffer(payload, np.int8)
        return unpack_q4_0(np.frombuffer(payload, np.uint8))


def required_tensors(header: Slm1Parameters) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield (name in SLM1, name in the validated model, shape) of every tensor that is used (SL-3)."""
    sizes = {"V": header.vocab_size, "H": header.hidden_size, "F": header.ffn_size}

    def shape(letters: str) -> tuple[int, ...]:
        return tuple(sizes[letter] for letter in letters)

    yield "tok_embeddings.weight", "token_embd.weight", shape("VH")
    for layer in range(header.layer_count):
        for stored, canonical, letters in _LAYER_NAMES:
            yield f"layers.{layer}.{stored}", f"blk.{layer}.{canonical}", shape(letters)
    yield "norm.weight", "output_norm.weight", shape("H")
    if not header.tied:
        yield "output.weight", "output.weight", shape("VH")


def validate_slm1(file: Slm1File, profile: Profile) -> ValidatedModel:
    """Check everything behind the directory in the order of SL-1 and return the model; no weight is decoded.

    Errors: InvalidHeader (tokenizer), MissingTensor, ShapeMismatch (shapes, block sizes, encoded lengths, scales,
    kv_head_count, head_dim); a profile may call unequal heads InvalidHeader and scales without a place
    InvalidTensorDirectory.
    """
    header = file.header
    tokenizer = _parse_tokenizer(file)
    found: list[tuple[str, str, tuple[int, ...], TensorEntry]] = []
    for name, canonical, shape in required_tensors(header):  # stops at the first absent one, whatever layer_count says
        entry = file.entries.find(name)
        if entry is None:
            raise MissingTensor(
                "a required tensor is absent",
                rule="SL-3",
                tensor=name,
                offset=header.tensor_directory_offset,
                field="tensor_directory",
                expected=f"an entry for {name} {list(shape)}",
                found=f"none in {header.tensor_count} entries",
            )
        found.append((name, canonical, shape, entry))
    weights: dict[str, Slm1Weight] = {}
    for name, canonical, shape, entry in found:
        weights[canonical] = _bind(file, name, shape, entry, profile)
    _check_heads(header, profile)
    hyperparameters = Hyperparameters(
        architecture="slm1",
        vocab_size=header.vocab_size,
        hidden_size=header.hidden_size,
        layer_count=header.layer_count,
        head_count=header.head_count,
        kv_head_count=header.kv_head_count,
        head_dim=header.head_dim,
        ffn_size=header.ffn_size,
        max_context=header.max_context,
        rms_norm_epsilon=header.rms_norm_epsilon,
        rope=RopeParameters(header.rope_theta),
    )
    return ValidatedModel("slm1", hyperparameters, weights, tokenizer, _label(list(weights.values())))


def _parse_tokenizer(file: Slm1File) -> Tokenizer:
    section = file.tokenizer_section
    offset = file.header.tokenizer_offset
    magic = bytes(section[:4])
    if magic == btok.MAGIC:
        return BtokTokenizer.parse(section, file.header.vocab_size, base_offset=offset)
    if magic == bpe1_section.MAGIC:
        return Bpe1Tokenizer.parse(section, file.header.vocab_size, base_offset=offset)
    raise InvalidHeader(
        "the tokenizer section has no known magic",
        rule="SL-1",
        offset=offset,
        field="tokenizer magic",
        expected=f"{btok.MAGIC!r} or {bpe1_section.MAGIC!r}",
        found=repr(magic),
    )


def _bind(file: Slm1File, name: str, shape: tuple[int, ...], entry: TensorEntry, profile: Profile) -> Slm1Weight:
    """Check shape, block size, encoded length and scales of one used tensor (SL-2, SL-3, SL-6)."""

    def failure(
        rule: str,
        field: str,
        detail: str,
        expected: object,
        value: object,
        kind: type[ContractError] = ShapeMismatch,
    ) -> ContractError:
        return kind(
            detail,
            rule=rule,
            tensor=name,
            offset=entry.offset + ENTRY_OFFSETS[field],
            field=field,
            expected=expected,
            found=value,
        )

    if entry.rank != len(shape):
        raise failure("SL-3", "rank", "the tensor has another rank", len(shape), entry.rank)
    if entry.shape != shape:
        raise failure("SL-3", "dims", "the tensor has another shape", list(shape), list(entry.shape))
    dtype = DType(entry.dtype)
    if not block_size_fits(dtype, shape, entry.block_size):
        columns = shape[-1]
        expected = f"{columns}, the row" if dtype is DType.Q8_0 else f"an even divisor of the row of {columns}"
        raise failure("SL-2", "block_size", "the block size does not fit the row", expected, entry.block_size)
    length = payload_length(dtype, shape)
    if entry.byte_length != length:
        raise failure("SL-6", "byte_length", "the payload has another length", length, entry.byte_length)
    payload = file.data[entry.byte_offset : entry.byte_offset + length]
    if dtype is DType.F32:
        return Slm1Weight(name, shape, dtype, 0, payload, np.empty(0, np.float32), (entry.byte_offset, 0))
    count = scale_count(dtype, shape, entry.block_size)
    if entry.scale_offset == 0 or entry.scale_offset + 4 * count > len(file.data):
        raise failure(
            "SL-6",
            "scale_offset",
            "the scales have no place in the file",
            f"not 0, and offset + length at most {len(file.data)}",
            f"{entry.scale_offset} + {4 * count}",
            ShapeMismatch if profile.scales_past_end == "9" else InvalidTensorDirectory,
        )
    scales = np.frombuffer(file.data, "<f4", count, entry.scale_offset)  # [rows x blocks], a view of the file
    scales = scales.astype(np.float32, copy=False)
    usable = np.isfinite(scales) & (scales > 0)
    if not usable.all():
        first = int(np.argmin(usable))
        raise ShapeMismatch(
            f"scale {first} of {count} is not usable",
            rule="SL-6",
            tensor=name,
            offset=entry.scale_offset + 4 * first,
            field="scales",
            expected="finite and greater than 0",
            found=float(scales[first]),
        )
    rows = prod(shape[:-1])
    place = entry.byte_offset, entry.scale_offset
    return Slm1Weight(name, shape, dtype, entry.block_size, payload, scales.reshape(rows, count // rows), place)


def _check_heads(header: Slm1Header, profile: Profile) -> None:
    if header.kv_head_count != header.head_count:
        raise (ShapeMismatch if profile.unequal_kv_heads == "9" else InvalidHeader)(
            "grouped-query attention is not supported",
            rule="SL-1",
            offset=HEADER_OFFSETS["kv_head_count"],
            field="kv_head_count",
            expected=f"head_count = {header.head_count}",
            found=header.kv_head_count,
        )
    if header.head_dim % 2:
        raise ShapeMismatch(
            "a head of odd size cannot be rotated in pairs",
            rule="SL-1",
            offset=HEADER_OFFSETS["head_dim"],
            field="head_dim",
            expected="an even number",
            found=header.head_dim,
        )


def _label(weights: list[Slm1Weight]) -> str:
    """Return the dtype that holds most elements; of equals the lower dtype code (CL-slm1)."""
    elements = {dtype: sum(prod(weight.shape) for weight in weights if weight.dtype is dtype) for dtype in DType}
    return max(DType, key=lambda dtype: elements[dtype]).label
