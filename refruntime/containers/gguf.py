"""Read the GGUF container from any buffer, bounded by its size (GG-2, GG-3, section 13 "GGUF").

Layout, little-endian: magic, version u32, tensor count u64, key count u64; keys and values; tensor entries (name,
number of dimensions u32, dimensions u64 each, type u32, offset u64 relative to the data); padding; data. The checks and
their order are those of llama.cpp's `gguf_init_from_reader`, made stricter where the contract says so.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from refruntime.containers.gguf_directory import DirectoryReader, GgufTensor, padded, place
from refruntime.containers.gguf_metadata import GgufField, GgufMetadata, ValueType
from refruntime.containers.gguf_reader import U32, MetadataReader
from refruntime.containers.gguf_tables import COMPACT_FROM
from refruntime.errors import InvalidHeader, InvalidModelMagic, UnsupportedModelVersion

__all__ = ["GgufField", "GgufFile", "GgufMetadata", "GgufTensor", "ValueType", "read_gguf"]

MAGIC: Final = b"GGUF"
SUPPORTED_VERSIONS: Final = (2, 3)
DEFAULT_ALIGNMENT: Final = 32
HEADER: Final = struct.Struct("<4sIQQ")


@dataclass(frozen=True)
class GgufFile:
    """A parsed file: nothing but the key/value section and the tensor entries has been looked at."""

    data: memoryview
    version: int
    alignment: int
    data_offset: int
    metadata: GgufMetadata
    tensors: Mapping[str, GgufTensor]

    def tensor_bytes(self, tensor: GgufTensor) -> memoryview:
        """Return the stored bytes of a tensor, without a copy."""
        return self.data[tensor.offset : tensor.offset + tensor.byte_length]


def read_gguf(data: bytes | bytearray | memoryview | mmap.mmap) -> GgufFile:
    """Parse and check a GGUF file; the buffer must outlive the result.

    Errors in this order: InvalidModelMagic, UnsupportedModelVersion, InvalidHeader (counts, metadata), then entry by
    entry InvalidTensorDirectory or UnsupportedDType, then InvalidTensorDirectory (ranges). Memory stays proportional to
    the bytes that are present, whatever the counts claim.
    """
    view = memoryview(data).cast("B")
    magic = bytes(view[:4])
    if magic != MAGIC:
        raise InvalidModelMagic("not a GGUF file", rule="GG-1", offset=0, field="magic", expected=MAGIC, found=magic)
    version = U32.unpack_from(view, 4)[0] if len(view) >= 8 else None
    if version is not None and version not in SUPPORTED_VERSIONS:
        raise UnsupportedModelVersion(
            "GGUF version is not supported", rule="GG-2", offset=4, field="version", expected="2 or 3", found=version
        )
    if version is None or len(view) < HEADER.size:
        raise InvalidHeader(
            "the file ends inside the header",
            rule="GG-3",
            offset=len(view),
            field="header",
            expected=f"{HEADER.size} bytes",
            found=f"{len(view)} bytes",
        )
    _, _, tensor_count, key_count = HEADER.unpack_from(view)
    remaining = len(view) - HEADER.size
    for field, offset, count in (("tensor_count", 8, tensor_count), ("key_count", 16, key_count)):
        if count > remaining:
            raise InvalidHeader(
                "a count is larger than the number of bytes that remain",
                rule="GG-3",
                offset=offset,
                field=field,
                expected=f"at most {remaining}",
                found=count,
            )

    metadata_reader = MetadataReader(view, HEADER.size)
    metadata = metadata_reader.read(key_count)
    alignment = _alignment(metadata)
    directory = DirectoryReader(view, metadata_reader.position)
    if tensor_count >= COMPACT_FROM:
        tensors, data_offset = directory.read_compactly(tensor_count, alignment)
        return GgufFile(view, version, alignment, data_offset, metadata, tensors)
    entries = directory.read(tensor_count)
    # llama.cpp needs no padding, and no data section, for a file without tensors
    data_offset = padded(directory.position, alignment) if entries else directory.position
    tensors = {tensor.name: tensor for tensor in place(entries, data_offset, alignment, len(view))}
    return GgufFile(view, version, alignment, data_offset, metadata, tensors)


def _alignment(metadata: GgufMetadata) -> int:
    alignment = metadata.u32("general.alignment", DEFAULT_ALIGNMENT)
    if alignment == 0 or alignment & (alignment - 1):
        raise InvalidHeader(
            "alignment is not a power of two",
            rule="GG-3",
            field="general.alignment",
            offset=metadata.fields["general.alignment"].offset,
            expected="a power of two",
            found=alignment,
        )
    return alignment
