"""Hold very many keys or tensor entries of a GGUF file as places in the file: a tiny one costs no object (GG-3).

A file may name 50,000 keys in a megabyte; as objects they take ten times its size and most of the time of a load. Here
an entry is two numbers, where it lies and the hash of its name, and is read when it is asked for.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Generic, TypeVar

import numpy as np

COMPACT_FROM: Final = 4096
"""Entries from which they are held so; fewer are read at once."""

Entry = TypeVar("Entry")


class NameIndex:
    """The places of entries by the hash of their raw names; `name_at` reads the name of a place."""

    def __init__(self, name_at: Callable[[int], bytes]) -> None:
        self.places = array("Q")
        self._name_at = name_at
        self._hashes = array("q")
        self._place, self._hash = self.places.append, self._hashes.append
        self._order = np.empty(0, np.intp)

    def add(self, place: int, name: bytes) -> None:
        """Append an entry."""
        self._place(place)
        self._hash(hash(name))

    def close(self) -> int | None:
        """Sort what was added; return the number of the first entry whose name another one has before it, if any."""
        hashes = np.frombuffer(self._hashes, np.int64) if self._hashes else np.empty(0, np.int64)
        self._order = np.argsort(hashes, kind="stable")
        ordered = hashes[self._order]
        doubled = []
        for place in np.flatnonzero(ordered[1:] == ordered[:-1]) + 1:
            number = int(self._order[place])
            if self.number(self._name_at(self.places[number])) != number:
                doubled.append(number)
        return min(doubled, default=None)

    def number(self, name: bytes) -> int | None:
        """Return the number of the first entry of a name."""
        hashes = np.frombuffer(self._hashes, np.int64) if self._hashes else np.empty(0, np.int64)
        wanted = hash(name)
        place = int(np.searchsorted(hashes, wanted, sorter=self._order))
        while place < len(self._order):
            number = int(self._order[place])
            if self._hashes[number] != wanted:
                return None
            if self._name_at(self.places[number]) == name:
                return number
            place += 1
        return None


class LazyTable(Mapping[str, Entry], Generic[Entry]):
    """Map names to entries that are read anew at every access, in the order of the file."""

    def __init__(
        self, index: NameIndex, raw: Callable[[str], bytes], name_at: Callable[[int], str], read: Callable[[int], Entry]
    ) -> None:
        self._index, self._raw, self._text_at, self._read = index, raw, name_at, read

    def __getitem__(self, name: str) -> Entry:
        number = self._index.number(self._raw(name))
        if number is None:
            raise KeyError(name)
        return self._read(self._index.places[number])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._index.number(self._raw(name)) is not None

    def __iter__(self) -> Iterator[str]:
        return map(self._text_at, self._index.places)

    def __len__(self) -> int:
        return len(self._index.places)
