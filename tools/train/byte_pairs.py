"""Learn and apply byte-pair merges for a BPE1 tokenizer section.

Merges are learned inside chunks: a run of letters with the space before it, or any other single character. A merged
token therefore has a space only at its start, so merging a whole text at once, as the runtime does, gives the same
tokens as merging chunk by chunk.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

FIRST_MERGED_ID = 260  # 0..255 are bytes, 256..259 are BOS, EOS, PAD, UNK (contract rules SL-7, SL-9)

Pair = tuple[int, int]


def split_chunks(text: str) -> list[str]:
    """Cut a text into the chunks that merges never leave."""
    return re.findall(r" ?[A-Za-z]+|.", text, flags=re.DOTALL)


def merge_pair(ids: Sequence[int], pair: Pair, output: int) -> tuple[int, ...]:
    """Replace each occurrence of a pair, leftmost first."""
    merged: list[int] = []
    position = 0
    while position < len(ids):
        if tuple(ids[position : position + 2]) == pair:
            merged.append(output)
            position += 2
        else:
            merged.append(ids[position])
            position += 1
    return tuple(merged)


def learn_merges(texts: Iterable[str], count: int) -> list[Pair]:
    """Return `count` merges, the most frequent pair first; merge number r makes the id 260 + r."""
    chunk_counts = Counter(chunk for text in texts for chunk in split_chunks(text))
    words = {tuple(chunk.encode()): number for chunk, number in chunk_counts.items()}
    merges: list[Pair] = []
    while len(merges) < count:
        pair_counts: Counter[Pair] = Counter()
        for ids, number in words.items():
            for pair in pairwise(ids):
                pair_counts[pair] += number
        # Of equally frequent pairs the one with the smaller ids wins, so that the order of the texts does not matter.
        best = min(pair_counts, key=lambda pair: (-pair_counts[pair], pair))
        output = FIRST_MERGED_ID + len(merges)
        words = {merge_pair(ids, best, output): number for ids, number in words.items()}
        merges.append(best)
    return merges


class BytePairEncoder:
    """Encode ASCII text with learned merges, without BOS and EOS (contract rule SL-10)."""

    def __init__(self, merges: Sequence[Pair]) -> None:
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.token_bytes = [bytes([byte]) for byte in range(256)] + [b""] * 4  # the four specials have no bytes
        for left, right in merges:
            self.token_bytes.append(self.token_bytes[left] + self.token_bytes[right])
        self._encode_chunk = lru_cache(maxsize=None)(self._merge_chunk)

    def _merge_chunk(self, chunk: str) -> tuple[int, ...]:
        ids = tuple(chunk.encode())
        while True:
            known = [pair for pair in pairwise(ids) if pair in self.ranks]
            if not known:
                return ids
            best = min(known, key=self.ranks.__getitem__)
            ids = merge_pair(ids, best, FIRST_MERGED_ID + self.ranks[best])

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text; without merges these are its bytes."""
        return [token for chunk in split_chunks(text) for token in self._encode_chunk(chunk)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids; specials have no text, bytes that are not UTF-8 become U+FFFD."""
        return b"".join(self.token_bytes[token] for token in ids).decode(errors="replace")
