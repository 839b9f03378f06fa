"""Read the SLM1 container up to its tensor directory (contract section 10, checks in the order of SL-1).

What the file says about a model (tokenizer, required tensors, shapes) is checked by `refruntime.model.slm1`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from refruntime.containers.checksum import slm1_checksum
from refruntime.containers.slm1_format import (
    ALIGNMENT,
    ENTRY,
    ENTRY_LENGTH,
    ENTRY_OFFSETS,
    HEADER,
    HEADER_LENGTH,
    HEADER_OFFSETS,
    MAGIC,
    MAX_RANK,
    POSITIVE_DIMENSIONS,
    VERSION,
    DType,
    Slm1Header,
    TensorEntry,
    fnv1a_64,
)
from refruntime.contract.profile import Profile
from refruntime.errors import (
    ContractError,
    InvalidHeader,
    InvalidModelMagic,
    InvalidTensorDirectory,
    ShapeMismatch,
    UnsupportedDType,
    UnsupportedModelVersion,
)


class TensorDirectory(Sequence[TensorEntry]):
    """The directory entries in file order, decoded one at a time so that a huge directory costs no memory."""

    def __init__(self, data: memoryview, offset: int, count: int) -> None:
        self._data = data
        self._offset = offset
        self._count = count
        hashes = np.ndarray((count,), "<u8", data, offset, (ENTRY_LENGTH,))  # [entries], a view of the file
        self._hashes, self._first = np.unique(hashes, return_index=True)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> TensorEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[TensorEntry]: ...
    def __getitem__(self, index: int | slice) -> TensorEntry | list[TensorEntry]:
        if isinstance(index, slice):
            return [self._decode(position) for position in range(self._count)[index]]
        return self._decode(range(self._count)[index])

    def __iter__(self) -> Iterator[TensorEntry]:
        return map(self._decode, range(self._count))

    def find(self, name: str) -> TensorEntry | None:
        """Return the first entry with the hash of `name`, or None (SL-3, SL-4)."""
        name_hash = fnv1a_64(name)
        place = int(np.searchsorted(self._hashes, np.uint64(name_hash)))
        if place == len(self._hashes) or int(self._hashes[place]) != name_hash:
            return None
        return self._decode(int(self._first[place]))

    def _decode(self, position: int) -> TensorEntry:
        start = self._offset + position * ENTRY_LENGTH
        name_hash, dtype, rank, *dims, byte_offset, byte_length, scale_offset, block_size, _ = ENTRY.unpack_from(
            self._data, start
        )
        return TensorEntry(
            start,
            name_hash,
            dtype,
            rank,
            (dims[0], dims[1], dims[2], dims[3]),
            byte_offset,
            byte_length,
            scale_offset,
            block_size,
        )


@dataclass(frozen=True, eq=False)
class Slm1File:
    """An SLM1 file whose header, checksum and directory are valid. All views share the memory of `data`."""

    data: memoryview
    header: Slm1Header
    entries: TensorDirectory

    @property
    def tokenizer_section(self) -> memoryview:
        """Return the tokenizer section, without a copy."""
        start = self.header.tokenizer_offset
        return self.data[start : start + self.header.tokenizer_length]


def read_slm1(data: bytes | memoryview, profile: Profile) -> Slm1File:
    """Read header and directory with the checks of SL-1, in its order, up to the directory.

    Errors: InvalidModelMagic, UnsupportedModelVersion, InvalidHeader (fields, ranges, checksum; a profile may call
    uneven heads ShapeMismatch), then entry by entry
    UnsupportedDType and InvalidTensorDirectory. The file is not copied; it must not change while the result is used.
    """
    view = memoryview(data).cast("B")
    header = _read_header(view)
    _check_dimensions(header, profile)
    _check_ranges(header, len(view), profile)
    _check_checksum(header, view, profile)
    entries = TensorDirectory(view, header.tensor_directory_offset, header.tensor_count)
    for index, entry in enumerate(entries):
        _check_entry(index, entry, len(view))
    return Slm1File(view, header, entries)


def _read_header(view: memoryview) -> Slm1Header:
    found_magic = bytes(view[:4])
    if found_magic != MAGIC:
        raise InvalidModelMagic(
            "not an SLM1 file", rule="SL-1", offset=0, field="magic", expected=MAGIC, found=found_magic
        )
    if len(view) < HEADER_LENGTH:
        raise InvalidHeader(
            "the file ends inside the header",
            rule="SL-1",
            offset=len(view),
            field="header",
            expected=f"at least {HEADER_LENGTH} bytes",
            found=f"{len(view)} bytes",
        )
    values = dict(zip(HEADER_OFFSETS, HEADER.unpack_from(view), strict=True))
    del values["magic"]
    header = Slm1Header(**values)
    if header.version != VERSION:
        raise UnsupportedModelVersion(
            "this SLM1 version is not supported",
            rule="SL-1",
            offset=HEADER_OFFSETS["version"],
            field="version",
            expected=VERSION,
            found=header.version,
        )
    if not HEADER_LENGTH <= header.header_length <= len(view):
        raise _header_error(
            header, "header_length", "the header length is outside the file", f"{HEADER_LENGTH} .. {len(view)}"
        )
    return header


def _check_dimensions(header: Slm1Header, profile: Profile) -> None:
    for field in POSITIVE_DIMENSIONS:
        if getattr(header, field) == 0:
            raise _header_error(header, field, "a dimension is zero", "at least 1")
    if header.head_count * header.head_dim != header.hidden_size:
        raise _header_error(
            header,
            "hidden_size",
            "the heads do not fill the hidden vector",
            f"head_count x head_dim = {header.head_count} x {header.head_dim} = {header.head_count * header.head_dim}",
            kind=InvalidHeader if profile.uneven_heads == "6" else ShapeMismatch,
        )
    if profile.header_constants == "not checked":
        return
    for field in ("rope_theta", "rms_norm_epsilon"):
        value = getattr(header, field)
        if not (math.isfinite(value) and value > 0):
            raise _header_error(header, field, "a constant is not usable", "finite and greater than 0")


def _check_ranges(header: Slm1Header, size: int, profile: Profile) -> None:
    if header.tokenizer_offset + header.tokenizer_length > size:
        raise InvalidHeader(
            "the tokenizer section reaches past the end of the file",
            rule="SL-1",
            offset=HEADER_OFFSETS["tokenizer_offset"],
            field="tokenizer_offset",
            expected=f"offset + length at most {size}",
            found=f"{header.tokenizer_offset} + {header.tokenizer_length}",
        )
    if header.tensor_directory_offset + header.tensor_count * ENTRY_LENGTH > size:
        raise InvalidHeader(
            "the tensor directory reaches past the end of the file",
            rule="SL-1",
            offset=HEADER_OFFSETS["tensor_directory_offset"],
            field="tensor_directory_offset",
            expected=f"offset + {ENTRY_LENGTH} x tensor_count at most {size}",
            found=f"{header.tensor_directory_offset} + {ENTRY_LENGTH} x {header.tensor_count}",
        )
    if header.tensor_data_offset % ALIGNMENT:
        raise _header_error(
            header, "tensor_data_offset", "the data offset is not aligned", f"a multiple of {ALIGNMENT}"
        )
    if header.tensor_data_offset > size and profile.data_offset_past_end == "6":
        raise _header_error(header, "tensor_data_offset", "the tensor data starts past the end", f"at most {size}")


def _check_checksum(header: Slm1Header, view: memoryview, profile: Profile) -> None:
    """Refuse a zero checksum always; compare it only where the profile knows the formula (SL-5)."""
    if header.checksum == 0:
        raise _header_error(header, "checksum", "the checksum is zero", "not 0", rule="SL-5")
    if profile.checksum == "verified":
        computed = slm1_checksum(view, profile)
        if computed != header.checksum:
            raise InvalidHeader(
                "the checksum does not match the file",
                rule="SL-5",
                offset=HEADER_OFFSETS["checksum"],
                field="checksum",
                expected=f"{computed:#018x}",
                found=f"{header.checksum:#018x}",
            )


def _check_entry(index: int, entry: TensorEntry, size: int) -> None:
    """Check one entry in the order of CL-slm1: dtype, rank, payload range, start of the scales."""

    def failure(
        kind: type[ContractError], rule: str, field: str, detail: str, expected: object, found: object
    ) -> ContractError:
        return kind(
            f"{detail} (entry {index}, name hash {entry.name_hash:#018x})",
            rule=rule,
            offset=entry.offset + ENTRY_OFFSETS[field],
            field=field,
            expected=expected,
            found=found,
        )

    try:
        dtype = DType(entry.dtype)
    except ValueError:
        known = ", ".join(f"{item.value} ({item.label})" for item in DType)
        raise failure(
            UnsupportedDType, "SL-1", "dtype", "the tensor type is not supported", known, entry.dtype
        ) from None
    if not 1 <= entry.rank <= MAX_RANK:
        raise failure(
            InvalidTensorDirectory, "SL-1", "rank", "the rank is out of range", f"1 .. {MAX_RANK}", entry.rank
        )
    if entry.byte_offset + entry.byte_length > size:
        raise failure(
            InvalidTensorDirectory,
            "SL-6",
            "byte_offset",
            "the payload reaches past the end of the file",
            f"offset + length at most {size}",
            f"{entry.byte_offset} + {entry.byte_length}",
        )
    if dtype is not DType.F32 and entry.scale_offset >= size:  # where they end shows once the tensor is used
        raise failure(
            InvalidTensorDirectory,
            "SL-6",
            "scale_offset",
            "the scales start past the end of the file",
            f"below {size}",
            entry.scale_offset,
        )


def _header_error(
    header: Slm1Header,
    field: str,
    detail: str,
    expected: str,
    rule: str = "SL-1",
    kind: type[ContractError] = InvalidHeader,
) -> ContractError:
    return kind(
        detail, rule=rule, offset=HEADER_OFFSETS[field], field=field, expected=expected, found=getattr(header, field)
    )
