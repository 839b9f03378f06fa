"""Hold many strings as one run of bytes, each behind its length, from which one is cut when it is asked for (GG-3).

A vocabulary has hundreds of thousands of texts. As objects they take most of the time of a load; here a text is one
number, the place where it lies.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, Self, overload

import numpy as np
from numpy.typing import NDArray

LENGTH: Final = struct.Struct("<Q")
"""Length prefix of strings and arrays."""
ROOM: Final = 8
"""Bytes behind the last string, so that words of 64 bits can be read anywhere in it."""

Places = NDArray[np.int64]


def words_of(data: bytes | memoryview) -> NDArray[np.uint64]:
    """Return the little-endian word of 64 bits at each byte, as a view; the last seven bytes begin none."""
    return np.ndarray((max(len(data) - 7, 0),), "<u8", data, 0, (1,))


def places_of(data: memoryview, position: int, count: int) -> tuple[Places, int] | None:
    """Return where the lengths of so many strings stand, and the place behind the strings; None if they do not fit."""
    if count > (len(data) - position) // LENGTH.size:
        return None
    words = words_of(data)
    for walk in (_short, _any):
        try:
            places = np.fromiter(walk(data, position, count), np.int64, count)
            lengths = words[places]
        except (IndexError, OverflowError, struct.error):
            continue  # a string ends behind the file, or has more than 255 bytes
        if walk is _any or not (lengths > 255).any():
            end = position if not count else int(places[-1]) + LENGTH.size + int(lengths[-1])
            return None if end > len(data) else (places, end)
    return None


def _short(data: memoryview, position: int, count: int) -> Iterator[int]:
    """Walk over strings as if none had more than 255 bytes: that takes half the time."""
    for _ in range(count):
        yield position
        position += 8 + data[position]


def _any(data: memoryview, position: int, count: int) -> Iterator[int]:
    length_at = LENGTH.unpack_from
    for _ in range(count):
        yield position
        position += 8 + length_at(data, position)[0]


class StringTable(Sequence[bytes]):
    """Strings that follow each other in `raw`, each behind its length; `raw` goes on for `ROOM` bytes.

    `starts` and `lengths` int64 [count] say where they are.
    """

    def __init__(self, raw: bytes, places: Places) -> None:
        self.raw = raw
        self.starts = places + LENGTH.size
        ends = np.append(places[1:], len(raw) - ROOM) if len(places) else places
        self.lengths: Places = ends - self.starts

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Self:
        """Put strings one behind the other."""
        sizes = np.fromiter(map(len, strings), np.int64, len(strings)) + LENGTH.size
        parts = [part for string in strings for part in (LENGTH.pack(len(string)), string)]
        return cls(b"".join(parts) + bytes(ROOM), np.cumsum(sizes) - sizes)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[at] for at in range(len(self))[index]]
        start = int(self.starts[index])
        return self.raw[start : start + int(self.lengths[index])]

    def __iter__(self) -> Iterator[bytes]:
        raw = self.raw
        ends = (self.starts + self.lengths).tolist()
        return (raw[start:end] for start, end in zip(self.starts.tolist(), ends, strict=True))

    @property
    def has_nul(self) -> bool:
        """Say whether a string holds a NUL."""
        zeros = len(self.raw) - int(np.count_nonzero(np.frombuffer(self.raw, np.uint8)))
        in_lengths = LENGTH.size * len(self) - int(np.count_nonzero(self.lengths.view(np.uint8)))
        return zeros > in_lengths + ROOM
