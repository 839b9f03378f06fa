"""Merge neighbouring symbols of a text, cheapest pair first: what SentencePiece and byte-pair encoding share."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

PairCost = Callable[[int, int, int], float | None]
"""Gives the cost of joining `text[start:middle]` and `text[middle:end]`, None where they do not join."""


def character_starts(text: bytes) -> list[int]:
    """Return the offset of every UTF-8 character."""
    return [at for at, byte in enumerate(text) if byte & 0xC0 != 0x80]


def merge_neighbours(text: bytes, cost_of: PairCost) -> list[bytes]:
    """Return the symbols that are left when no two neighbours join; at the start each character is a symbol.

    Of all pairs the cheapest is joined first, of equal ones the leftmost. A symbol is the bytes from its start with its
    length; symbols form a linked list. The heap holds the pairs that join and perhaps pairs that are gone: a pair is
    stale when one of its symbols has grown or vanished since. n characters take O(n log n) steps.
    """
    starts = character_starts(text)
    count = len(starts)
    if count < 2:
        return [text] if text else []
    bounds = [*starts, len(text)]
    lengths = [bounds[at + 1] - bounds[at] for at in range(count)]
    following = [*range(1, count), -1]
    preceding = list(range(-1, count - 1))
    heap: list[tuple[float, int, int, int]] = []  # cost, left, right, length of both
    for left in range(count - 1):
        cost = cost_of(bounds[left], bounds[left + 1], bounds[left + 2])
        if cost is not None:
            heap.append((cost, left, left + 1, lengths[left] + lengths[left + 1]))
    heapify(heap)
    while heap:
        _, left, right, size = heappop(heap)
        if not lengths[left] or not lengths[right] or lengths[left] + lengths[right] != size:
            continue
        lengths[left], lengths[right] = size, 0
        following[left] = after = following[right]
        if after >= 0:
            preceding[after] = left
        for first, second in ((preceding[left], left), (left, after)):
            if first >= 0 and second >= 0:
                middle = starts[second]
                cost = cost_of(starts[first], middle, middle + lengths[second])
                if cost is not None:
                    heappush(heap, (cost, first, second, lengths[first] + lengths[second]))
    return [text[start : start + length] for start, length in zip(starts, lengths, strict=True) if length]
