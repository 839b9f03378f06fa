"""Read as much of a GGUF file as can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from refruntime.containers.gguf import HEADER, SUPPORTED_VERSIONS, GgufFile, GgufTensor, read_gguf
from refruntime.containers.gguf_directory import DirectoryReader
from refruntime.containers.gguf_metadata import GgufField, GgufMetadata, ValueType
from refruntime.containers.gguf_reader import MetadataReader
from refruntime.contract.profile import Profile
from refruntime.errors import ContractError
from refruntime.inspection.report import Inspection, MetadataLine, TensorLine, TokenizerLine
from refruntime.model.architectures.encoders import ENCODERS
from refruntime.model.gguf.model import validate_gguf
from refruntime.model.gguf.tokenizer import pre_tokenizer_name, read_tokenizer
from refruntime.model.load import container_of, validate_file
from refruntime.tokenizers.base import Tokenizer

SHOWN_ELEMENTS = 8

Items = TypeVar("Items")


def inspect_gguf(view: memoryview, profile: Profile) -> Inspection:
    """Validate a GGUF file as `load_model` does, an encoder as `refruntime embed`; no ContractError leaves here."""
    file = model = error = None
    try:
        container_of(view, profile)
        file = read_gguf(view)
        encodes = _is_encoder(file.metadata.get("general.architecture"))
        model = validate_gguf(file, profile, encoder=True) if encodes else validate_file(file, profile)
    except ContractError as failure:
        error = failure
    report = _read_leniently(view, profile, file, None if model is None else model.tokenizer)
    if any(line.key == "general.architecture" and _is_encoder(line.value) for line in report.metadata):
        report.notes.append("an encoder: `refruntime embed` reads it; load_model refuses it, as it generates nothing")
    report.error = error
    if model is not None:
        report.hyperparameters, report.quantization = model.hyperparameters, model.quantization
    return report


def _is_encoder(architecture: object) -> bool:
    return isinstance(architecture, str) and architecture in ENCODERS


def _read_leniently(
    view: memoryview, profile: Profile, file: GgufFile | None, tokenizer: Tokenizer | None
) -> Inspection:
    """Return header, keys and tensor entries up to the first that cannot be read; never raises ContractError.

    `file` is what was read of the whole, None where that fails; `tokenizer` that of a valid model, else None.
    """
    report = Inspection("gguf", len(view))
    if len(view) < HEADER.size:
        report.notes.append(f"the header of {HEADER.size} bytes is not complete")
        return report
    _, version, tensor_count, key_count = HEADER.unpack_from(view)
    report.header = {"version": version, "tensor_count": tensor_count, "key_count": key_count}
    if version not in SUPPORTED_VERSIONS:
        report.notes.append("nothing behind the header was read, because the version is unknown")
        return report
    position = 0
    if file is not None:
        keys, metadata = key_count, file.metadata
    else:
        keys, metadata, position = _longest_prefix(key_count, lambda count: _read_keys(view, count))
    report.metadata = [_metadata_line(field) for field in metadata.fields.values()]
    if keys < key_count:
        report.notes.append(f"{keys} of {key_count} keys could be read; the next one is broken")
        return report
    _describe_tokenizer(report, metadata, profile, tokenizer)
    if file is not None:
        report.header |= {"alignment": file.alignment, "data_offset": file.data_offset}
        report.tensors = [_tensor_line(tensor) for tensor in file.tensors.values()]
        return report
    entries, tensors, _ = _longest_prefix(tensor_count, lambda count: _read_entries(view, position, count))
    if entries < tensor_count:
        report.notes.append(f"{entries} of {tensor_count} tensor entries could be read; the next one is broken")
    report.tensors = [_tensor_line(tensor, "offset relative to the data") for tensor in tensors]
    return report


def _describe_tokenizer(
    report: Inspection, metadata: GgufMetadata, profile: Profile, tokenizer: Tokenizer | None
) -> None:
    """Say what the tokenizer is, or why it cannot be read."""
    try:
        if tokenizer is None:
            tokenizer = read_tokenizer(metadata, profile, word_pieces=True)
        pre_tokenizer = pre_tokenizer_name(metadata) or "default" if tokenizer.kind == "bpe" else None
        report.tokenizer = TokenizerLine.of(tokenizer, pre_tokenizer)
        if tokenizer.kind == "bpe" and not pre_tokenizer_name(metadata):
            report.notes.append("tokenizer.ggml.pre is absent, so text is cut into words as llama.cpp's default does")
    except ContractError as error:
        report.notes.append(f"tokenizer: {error}")


def readable_part(view: memoryview) -> tuple[dict[str, str], dict[str, str]]:
    """Return the keys of a file and the types of its tensors by name, up to the first that cannot be read.

    Of an entry that is wrong behind its type the type counts too: a build that does not have it refuses it for that.

    A key maps to its text, where it holds one, else to the empty string.
    """
    if len(view) < HEADER.size:
        return {}, {}
    _, version, tensor_count, key_count = HEADER.unpack_from(view)
    if version not in SUPPORTED_VERSIONS:
        return {}, {}
    keys, metadata, position = _longest_prefix(key_count, lambda count: _read_keys(view, count))
    texts = {key: _text(field) for key, field in metadata.fields.items()}
    if keys < key_count:
        return texts, {}
    read, tensors, behind = _longest_prefix(tensor_count, lambda count: _read_entries(view, position, count))
    types = {tensor.name: tensor.type.name for tensor in tensors}
    if read < tensor_count:
        try:
            name, ggml_type = DirectoryReader(view, behind).claimed()
            types.setdefault(name, ggml_type.name)
        except ContractError:
            pass
    return texts, types


def _text(field: GgufField) -> str:
    return str(field.value) if field.type is ValueType.STRING else ""


def _read_keys(view: memoryview, count: int) -> tuple[GgufMetadata, int]:
    reader = MetadataReader(view, HEADER.size)
    return reader.read(count), reader.position


def _read_entries(view: memoryview, position: int, count: int) -> tuple[list[GgufTensor], int]:
    reader = DirectoryReader(view, position)
    return reader.read(count), reader.position


def _longest_prefix(claimed: int, read: Callable[[int], tuple[Items, int]]) -> tuple[int, Items, int]:
    """Return the largest count that can be read, its items, and the position behind them.

    Whoever reads n items reads the first n - 1 on the way, so bisection finds the border.
    """
    try:
        return claimed, *read(claimed)
    except ContractError:
        pass
    low, high = 0, 1  # the first `low` can be read
    while high < claimed and _can(read, high):
        low, high = high, 2 * high
    high = min(high, claimed)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _can(read, middle) else (low, middle)
    return low, *read(low)


def _can(read: Callable[[int], object], count: int) -> bool:
    try:
        read(count)
    except ContractError:
        return False
    return True


def _metadata_line(field: GgufField) -> MetadataLine:
    if field.type is not ValueType.ARRAY:
        return MetadataLine(field.key, field.type_name, field.offset, 1, field.value)
    values: Any = replace(field, count=min(field.count, SHOWN_ELEMENTS)).value
    shown = values if isinstance(values, list) else values.tolist()
    return MetadataLine(field.key, field.type_name, field.offset, field.count, shown)


def _tensor_line(tensor: GgufTensor, note: str = "") -> TensorLine:
    return TensorLine(
        tensor.name, tensor.type.name, tensor.shape, tensor.offset, tensor.byte_length, tensor.element_count, note
    )
