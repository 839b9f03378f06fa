"""Turn text into merged byte ids and back: the BPE1 tokenizer of SLM1 (SL-9, SL-10, CL-bpe1).

Worked example with two merges, (t, h) -> 260 at rank 0 and (260, e) -> 261 at rank 1:

    the  ->  116 104 101  ->  260 101  ->  261  ->  BOS 261 EOS = 256 261 257
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

from refruntime.tokenizers.bpe1_section import Merge, TokenRecord, build_section, check_section, read_section
from refruntime.tokenizers.byte_ids import BOS, EOS, special_bytes

_END: Final = -1
_GONE: Final = -1


@dataclass(frozen=True)
class Bpe1Tokenizer:
    """Byte-pair tokenizer over byte ids with the specials of BTOK.

    `section` holds the valid BPE1 section; its tables are made when they are first needed. A variation may override
    `merge`.
    """

    vocab_size: int
    section: bytes

    kind = "bpe1"
    eos_id = EOS
    stop_ids = frozenset({EOS})

    @classmethod
    def parse(cls, section: memoryview, vocab_size: int, *, base_offset: int = 0) -> Self:
        """Check a BPE1 section whose vocabulary must have `vocab_size` ids, and keep a copy of it (SL-9).

        `base_offset` is where the section starts in the file, for error messages. InvalidHeader.
        """
        check_section(section, vocab_size, base_offset)
        return cls(vocab_size, bytes(section))

    @classmethod
    def build(cls, vocab_size: int, records: Sequence[TokenRecord], merges: Sequence[Merge]) -> Self:
        """Make a tokenizer from records and merges. InvalidHeader if they break SL-9."""
        return cls.parse(memoryview(build_section(vocab_size, records, merges)), vocab_size)

    def section_bytes(self) -> bytes:
        """Return the section that `parse` reads."""
        return self.section

    @property
    def records(self) -> list[TokenRecord]:
        """Return the stored bytes of ids, in file order."""
        return read_section(self.section)[0]

    @property
    def merges(self) -> list[Merge]:
        """Return the stored merges, in file order."""
        return read_section(self.section)[1]

    @cached_property
    def _text(self) -> dict[int, bytes]:
        """Map each id with a meaning to the bytes that it decodes to."""
        text = {token: bytes([token]) for token in range(256)}
        text.update(self.records)  # a record for 0..255 replaces the implicit byte
        for token in range(256, 260):
            text[token] = special_bytes(token) or b""  # specials decode as specials whatever their record says
        return text

    @cached_property
    def by_pair(self) -> dict[tuple[int, int], Merge]:
        """Map each pair to the merge that counts: of one pair the lower rank, of equal ranks the first."""
        by_pair: dict[tuple[int, int], Merge] = {}
        for merge in self.merges:
            known = by_pair.setdefault((merge.left, merge.right), merge)
            if merge.rank < known.rank:
                by_pair[merge.left, merge.right] = merge
        return by_pair

    def encode(self, text: bytes, *, add_special: bool = True) -> list[int]:
        """Return the merged ids of `text`, with BOS before and EOS behind if `add_special` (SL-10)."""
        ids = self.merge(text)
        return [BOS, *ids, EOS] if add_special else ids

    def decode(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of ids: BOS, EOS and PAD give nothing, UNK and ids without a record give `?` (SL-8)."""
        text = self._text
        return b"".join(text.get(token, b"?") for token in ids)

    def merge(self, symbols: Sequence[int]) -> list[int]:
        """Apply the lowest-rank adjacent merge, leftmost first among equals, until none is left.

        A linked list holds the ids; a merged pair lives on at the place of its left part, so places stay in text
        order. The heap holds (rank, place) of every mergeable pair and perhaps of pairs that are gone. An item is
        obeyed only if the pair that is at its place now has its rank; every live pair was pushed when it arose.
        So each round takes the smallest (rank, place) of all live pairs, which is the definition.
        """
        ids = list(symbols)
        following = [*range(1, len(ids)), _END] if ids else []
        previous = list(range(-1, len(ids) - 1))
        by_pair = self.by_pair
        heap = [
            (merge.rank, place)
            for place in range(len(ids) - 1)
            if (merge := by_pair.get((ids[place], ids[place + 1]))) is not None
        ]
        heapq.heapify(heap)
        while heap:
            rank, place = heapq.heappop(heap)
            right = following[place]
            merge = by_pair.get((ids[place], ids[right])) if right != _END else None
            if merge is None or merge.rank != rank:
                continue
            ids[place] = merge.output
            ids[right] = _GONE  # no id is negative, so a pair with a place that was merged away is never found
            after = following[right]
            following[place] = after
            before = previous[place]
            if after != _END:
                previous[after] = place
                if (merge := by_pair.get((ids[place], ids[after]))) is not None:
                    heapq.heappush(heap, (merge.rank, place))
            if before != _END and (merge := by_pair.get((ids[before], ids[place]))) is not None:
                heapq.heappush(heap, (merge.rank, before))
        return [token for token in ids if token != _GONE]
