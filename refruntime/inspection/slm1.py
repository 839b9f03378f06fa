"""Read as much of an SLM1 file as can be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from math import prod

from refruntime.containers.slm1 import TensorDirectory
from refruntime.containers.slm1_format import (
    ENTRY_LENGTH,
    HEADER,
    HEADER_LENGTH,
    HEADER_OFFSETS,
    MAX_RANK,
    DType,
    Slm1Header,
    TensorEntry,
    fnv1a_64,
)
from refruntime.inspection.report import Inspection, TensorLine
from refruntime.model.slm1.model import required_tensors

MAX_ENTRIES = 100_000


def read_slm1_leniently(view: memoryview) -> Inspection:
    """Return the header fields and the directory entries that lie inside the file; never raises ContractError."""
    report = Inspection("slm1", len(view))
    if len(view) < HEADER_LENGTH:
        report.notes.append(f"the header of {HEADER_LENGTH} bytes is not complete")
        return report
    values = dict(zip(HEADER_OFFSETS, HEADER.unpack_from(view), strict=True))
    del values["magic"]
    header = Slm1Header(**values)
    report.header = {name: asdict(header)[name] for name in values}
    report.header["checksum"] = f"{header.checksum:#018x}"  # too large for a JSON number
    section = view[header.tokenizer_offset : header.tokenizer_offset + header.tokenizer_length]
    report.header["tokenizer_magic"] = bytes(section[:4]).decode("ascii", "backslashreplace")
    room = max(0, len(view) - header.tensor_directory_offset) // ENTRY_LENGTH
    count = min(header.tensor_count, room, MAX_ENTRIES)
    if count < header.tensor_count:
        report.notes.append(f"{count} of {header.tensor_count} directory entries are shown; {room} lie inside the file")
    if count:
        names = _names_by_hash(header, count)
        entries = TensorDirectory(view, header.tensor_directory_offset, count)
        report.tensors = list(_tensor_lines(entries, names, header, len(view)))
    return report


def _names_by_hash(header: Slm1Header, count: int) -> dict[int, str]:
    """Return the names that the hashes may stand for, bounded by the number of entries and not by the header."""
    names = islice(required_tensors(header), 2 * count + 2)
    known = {fnv1a_64(name): name for name, _, _ in names}
    for name in ("norm.weight", "output.weight"):
        known[fnv1a_64(name)] = name
    return known


def _tensor_lines(
    entries: TensorDirectory, names: dict[int, str], header: Slm1Header, size: int
) -> Iterator[TensorLine]:
    seen: set[int] = set()
    for entry in entries:
        notes = []
        if entry.name_hash in seen:
            notes.append("repeats a hash, ignored")
        elif entry.name_hash not in names:
            notes.append("unknown name, ignored")
        elif header.tied and names[entry.name_hash] == "output.weight":
            notes.append("not used, the output is tied")
        seen.add(entry.name_hash)
        if not 1 <= entry.rank <= MAX_RANK:
            notes.append(f"rank {entry.rank}")
        if entry.byte_offset + entry.byte_length > size:
            notes.append("reaches past the end of the file")
        dtype = _label(entry)
        if dtype == "q4_0":
            notes.append(f"blocks of {entry.block_size}")
        if dtype in ("q8_0", "q4_0"):
            notes.append(f"scales at {entry.scale_offset}")
        yield TensorLine(
            names.get(entry.name_hash, f"hash {entry.name_hash:#018x}"),
            dtype,
            entry.shape,
            entry.byte_offset,
            entry.byte_length,
            prod(entry.shape),
            "; ".join(notes),
        )


def _label(entry: TensorEntry) -> str:
    try:
        return DType(entry.dtype).label
    except ValueError:
        return f"dtype {entry.dtype}"
