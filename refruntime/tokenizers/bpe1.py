"""Turn text into merged byte ids and back: the BPE1 tokenizer of SLM1 (SL-9, SL-10, section 13 BPE1).

Worked example with two merges, (t, h) -> 260 at rank 0 and (260, e) -> 261 at rank 1:

    the  ->  116 104 101  ->  260 101  ->  261  ->  BOS 261 EOS = 256 261 257
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from refruntime.tokenizers.bpe1_section import Merge, TokenRecord, build_section, parse_section
from refruntime.tokenizers.byte_ids import BOS, EOS, special_bytes

_END: Final = -1


@dataclass(frozen=True)
class Bpe1Tokenizer:
    """Byte-pair tokenizer over byte ids with the specials of BTOK.

    `records` are the stored (id, bytes) pairs and `merges` the stored merges, both in file order.
    """

    vocab_size: int
    records: tuple[TokenRecord, ...]
    merges: tuple[Merge, ...]
    _text: dict[int, bytes] = field(init=False, repr=False, compare=False)
    _by_pair: dict[tuple[int, int], Merge] = field(init=False, repr=False, compare=False)

    kind = "bpe1"
    eos_id = EOS
    stop_ids = frozenset({EOS})

    def __post_init__(self) -> None:
        text = {token: bytes([token]) for token in range(256)}
        text.update(self.records)  # a record for 0..255 replaces the implicit byte
        for token in range(256, 260):
            text[token] = special_bytes(token) or b""  # specials decode as specials whatever their record says
        by_pair: dict[tuple[int, int], Merge] = {}
        for merge in self.merges:
            known = by_pair.setdefault((merge.left, merge.right), merge)
            if merge.rank < known.rank:  # of one pair the lower rank counts, of equal ranks the first
                by_pair[merge.left, merge.right] = merge
        object.__setattr__(self, "_text", text)
        object.__setattr__(self, "_by_pair", by_pair)

    @classmethod
    def parse(cls, section: memoryview, vocab_size: int, *, base_offset: int = 0) -> Self:
        """Read a BPE1 section whose vocabulary must have `vocab_size` ids (SL-9).

        `base_offset` is where the section starts in the file, for error messages. InvalidHeader.
        """
        records, merges = parse_section(section, vocab_size, base_offset)
        return cls(vocab_size, tuple(TokenRecord(*record) for record in records.items()), tuple(merges))

    def section_bytes(self) -> bytes:
        """Return the section that `parse` reads."""
        return build_section(self.vocab_size, self.records, self.merges)

    def encode(self, text: bytes, *, add_special: bool = True) -> list[int]:
        """Return the merged ids of `text`, with BOS before and EOS behind if `add_special` (SL-10)."""
        ids = self._merge(text)
        return [BOS, *ids, EOS] if add_special else ids

    def decode(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of ids: BOS, EOS and PAD give nothing, UNK and ids without a record give `?` (SL-8)."""
        text = self._text
        return b"".join(text.get(token, b"?") for token in ids)

    def _merge(self, symbols: Sequence[int]) -> list[int]:
        """Apply the lowest-rank adjacent merge, leftmost first among equals, until none is left.

        A linked list holds the ids; a merged pair lives on at the place of its left part, so places stay in text
        order. The heap holds (rank, place) of every mergeable pair and perhaps of pairs that are gone. An item is
        obeyed only if the pair that is at its place now has its rank; every live pair was pushed when it arose.
        So each round takes the smallest (rank, place) of all live pairs, which is the definition.
        """
        ids = list(symbols)
        following = [*range(1, len(ids)), _END] if ids else []
        previous = list(range(-1, len(ids) - 1))
        by_pair = self._by_pair
        heap = [
            (merge.rank, place)
            for place in range(len(ids) - 1)
            if (merge := by_pair.get((ids[place], ids[place + 1]))) is not None
        ]
        heapq.heapify(heap)
        gone = -1  # no id is negative, so a pair with a place that was merged away is never found
        while heap:
            rank, place = heapq.heappop(heap)
            right = following[place]
            merge = by_pair.get((ids[place], ids[right])) if right != _END else None
            if merge is None or merge.rank != rank:
                continue
            ids[place] = merge.output
            ids[right] = gone
            after = following[right]
            following[place] = after
            before = previous[place]
            if after != _END:
                previous[after] = place
                if (merge := by_pair.get((ids[place], ids[after]))) is not None:
                    heapq.heappush(heap, (merge.rank, place))
            if before != _END and (merge := by_pair.get((ids[before], ids[place]))) is not None:
                heapq.heappush(heap, (merge.rank, before))
        return [token for token in ids if token != gone]
