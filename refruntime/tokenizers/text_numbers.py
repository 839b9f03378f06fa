"""Find the number of a text in a table, without an object for each text.

Each text has one word of 64 bits: the upper bits of a hash, below them its number. In the sorted words a text is found
by bisection. That takes a tenth of the time that a dictionary takes to be made, and is slower for each text; so the
dictionary is made when so many texts were asked for that it pays, or when two texts have the same bits of a hash.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Final, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from refruntime.string_table import StringTable, words_of

WORDS: Final = 8
"""Words of a text up to which all texts are hashed at once; a longer one is hashed by itself."""
FACTOR: Final = 0x9E3779B97F4A7C15
"""An odd number near 2^64 times the golden ratio, which mixes bits upwards."""
MASK: Final = (1 << 64) - 1
PAYS: Final = 16
"""A dictionary of so many texts is made in the time of one search."""

Default = TypeVar("Default")


class TextNumbers(Mapping[bytes, int]):
    """Map each text of a table to its number; of equal texts the first counts."""

    def __init__(self, texts: StringTable) -> None:
        self._texts = texts
        self._below = (1 << max(len(texts) - 1, 0).bit_length()) - 1  # the bits of numbers
        numbers = np.arange(len(texts), dtype=np.uint64)
        words = np.sort(_hashes(texts) & np.uint64(MASK ^ self._below) | numbers)
        self._words = array("Q", words.tobytes())
        alike = np.flatnonzero((words[1:] ^ words[:-1]) <= np.uint64(self._below))
        both = np.concatenate([words[alike], words[alike + 1]]) & np.uint64(self._below)
        self._alike: list[int] = np.unique(both).tolist()
        self._left = 0 if self._alike else len(texts) // PAYS
        self._known: dict[bytes, int] | None = None

    def repeated(self) -> tuple[int, int] | None:
        """Return the first number whose text another one had before, behind that one."""
        first: dict[bytes, int] = {}
        for number in self._alike:
            known = first.setdefault(self._texts[number], number)
            if known != number:
                return known, number
        return None

    @overload
    def get(self, key: bytes, /) -> int | None: ...
    @overload
    def get(self, key: bytes, /, default: int | Default) -> int | Default: ...
    def get(self, key: bytes, /, default: object = None) -> object:
        """Return the number of a text."""
        known = self._known
        if known is None:
            if self._left > 0:
                self._left -= 1
                found = self._search(key)
                return default if found is None else found
            known = self._all()
        return known.get(key, default)

    def __getitem__(self, key: bytes) -> int:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and self.get(key) is not None

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._all() if self._alike else self._texts)

    def __len__(self) -> int:
        return len(self._all() if self._alike else self._texts)

    def _search(self, text: bytes) -> int | None:
        start = _hash(text) & ~self._below
        at = bisect_left(self._words, start)
        if at == len(self._words) or self._words[at] & ~self._below != start:
            return None
        number = self._words[at] & self._below
        return number if self._texts[number] == text else None

    def _all(self) -> dict[bytes, int]:
        """Return the dictionary, made once."""
        if self._known is None:
            texts = list(self._texts)
            texts.reverse()  # so that the first of equal texts is put in last
            self._known = dict(zip(texts, range(len(texts) - 1, -1, -1), strict=True))
        return self._known


def _hash(text: bytes) -> int:
    """Return the hash of a text."""
    if len(text) > 8 * WORDS:
        return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")
    value = len(text) * FACTOR & MASK
    for at in range(0, len(text), 8):
        value = (value ^ int.from_bytes(text[at : at + 8], "little")) * FACTOR & MASK
        value ^= value >> 32
    return value


def _hashes(texts: StringTable) -> NDArray[np.uint64]:
    """Return the hashes of all texts, [count]: what `_hash` does, for all at once."""
    words, factor = words_of(texts.raw), np.uint64(FACTOR)
    bytes_of = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)  # masks of the first bytes of a word
    values = texts.lengths.astype(np.uint64) * factor
    numbers = np.flatnonzero((texts.lengths > 0) & (texts.lengths <= 8 * WORDS))
    starts, left = texts.starts[numbers], texts.lengths[numbers]
    while len(numbers):
        mixed = (values[numbers] ^ words[starts] & bytes_of[np.minimum(left, 8)]) * factor
        values[numbers] = mixed ^ mixed >> np.uint64(32)
        longer = np.flatnonzero(left > 8)
        numbers, starts, left = numbers[longer], starts[longer] + 8, left[longer] - 8
    for number in np.flatnonzero(texts.lengths > 8 * WORDS).tolist():
        values[number] = _hash(texts[number])
    return values
