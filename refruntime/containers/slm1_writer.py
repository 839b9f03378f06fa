"""Write SLM1 files in the published layout (contract section 10).

Header, tokenizer section, padding to 64, directory, padding to 64, then for every tensor its payload and its scales,
each padded to 64 with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from refruntime.containers.checksum import slm1_checksum
from refruntime.containers.slm1_format import (
    ENTRY,
    ENTRY_LENGTH,
    HEADER,
    HEADER_LENGTH,
    HEADER_OFFSETS,
    MAGIC,
    MAX_RANK,
    VERSION,
    DType,
    Slm1Header,
    Slm1Parameters,
    align,
    fnv1a_64,
)
from refruntime.contract.profile import Profile


@dataclass(frozen=True)
class EncodedTensor:
    """One tensor as it is stored: payload bytes, scale bytes (little-endian float32, empty for f32).

    `refruntime.model.slm1.encode` makes it from numbers. `block_size` is 0 for f32.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    block_size: int
    payload: bytes
    scales: bytes


def write_slm1(
    parameters: Slm1Parameters, tokenizer_section: bytes, tensors: Sequence[EncodedTensor], profile: Profile
) -> bytes:
    """Return a whole SLM1 file; the checksum follows the profile (SL-5).

    The model is not validated, so that faulty files can be written for tests. ValueError if a rank is not 1..4 or the
    checksum comes out as 0, which no reader accepts.
    """
    directory_offset = align(HEADER_LENGTH + len(tokenizer_section))
    data_offset = align(directory_offset + ENTRY_LENGTH * len(tensors))
    directory = bytearray()
    pieces: list[tuple[int, bytes]] = []
    end = data_offset
    for tensor in tensors:
        byte_offset = end
        scale_offset = align(byte_offset + len(tensor.payload)) if tensor.scales else 0
        pieces += [(byte_offset, tensor.payload), (scale_offset, tensor.scales)]
        end = align(scale_offset + len(tensor.scales)) if tensor.scales else align(byte_offset + len(tensor.payload))
        directory += _entry_bytes(tensor, byte_offset, scale_offset)
    header = Slm1Header(
        **asdict(parameters),
        version=VERSION,
        header_length=HEADER_LENGTH,
        tokenizer_offset=HEADER_LENGTH,
        tokenizer_length=len(tokenizer_section),
        tensor_directory_offset=directory_offset,
        tensor_count=len(tensors),
        tensor_data_offset=data_offset,
        checksum=0,
    )
    file = bytearray(end)
    pieces += [(0, _header_bytes(header)), (HEADER_LENGTH, tokenizer_section), (directory_offset, bytes(directory))]
    for offset, piece in pieces:
        file[offset : offset + len(piece)] = piece
    return with_checksum(bytes(file), profile)


def with_checksum(file: bytes, profile: Profile) -> bytes:
    """Return the file with its checksum field set to what the profile computes (SL-5). ValueError if that is 0."""
    checksum = slm1_checksum(file, profile)
    if checksum == 0:
        raise ValueError("the checksum of this file is 0, which is not allowed; change any byte")
    start = HEADER_OFFSETS["checksum"]
    return file[:start] + checksum.to_bytes(8, "little") + file[start + 8 :]


def _header_bytes(header: Slm1Header) -> bytes:
    fields = [getattr(header, name) for name in HEADER_OFFSETS if name != "magic"]
    return HEADER.pack(MAGIC, *fields)


def _entry_bytes(tensor: EncodedTensor, byte_offset: int, scale_offset: int) -> bytes:
    rank = len(tensor.shape)
    if not 1 <= rank <= MAX_RANK:
        raise ValueError(f"tensor {tensor.name} has {rank} dimensions; SLM1 stores 1 to {MAX_RANK}")
    dims = (*tensor.shape, 0, 0, 0)[:4]
    return ENTRY.pack(
        fnv1a_64(tensor.name),
        tensor.dtype,
        rank,
        *dims,
        byte_offset,
        len(tensor.payload),
        scale_offset,
        tensor.block_size,
        b"",
    )
