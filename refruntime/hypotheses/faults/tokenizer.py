"""Hypotheses on tokenizers (SL-8, SL-10, SL-11, GG-5, GG-6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from typing import Any, Final

from refruntime.hypotheses.hypothesis import Changes, Hypothesis
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.bpe1 import Bpe1Tokenizer
from refruntime.tokenizers.byte_ids import PAD, UNK
from refruntime.tokenizers.spm import SpmTokenizer
from refruntime.tokenizers.token_attributes import SPECIAL, Attribute
from refruntime.tokenizers.vocabulary import Vocabulary

_BYTE_IDS: Final = ("btok", "bpe1")


class Delegating:
    """A tokenizer with one answer replaced."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


class _BosMissing(Delegating):
    def encode(self, text: bytes, *, add_special: bool = True) -> list[int]:
        ids = self._tokenizer.encode(text, add_special=add_special)
        return ids[1:] if add_special else ids


def _without_bos(tokenizer: Tokenizer) -> Any:
    if tokenizer.kind in _BYTE_IDS:
        return _BosMissing(tokenizer)
    return _spm(_no_prefix)(tokenizer)


class _PadStops(Delegating):
    @property
    def stop_ids(self) -> frozenset[int]:
        stops = self._tokenizer.stop_ids
        return stops | {PAD} if self.kind in _BYTE_IDS else stops


class _UnknownIsNothing(Delegating):
    def decode(self, ids: Iterable[int]) -> bytes:
        return self._tokenizer.decode(token for token in ids if token != UNK or self.kind not in _BYTE_IDS)


class _LeadingSpaceStripped(Delegating):
    def decode(self, ids: Iterable[int]) -> bytes:
        text = self._tokenizer.decode(ids)
        return text.removeprefix(b" ") if self.kind == "spm" else text


# BPE1 ----------------------------------------------------------------------------------------------------------------


class _NaiveBpe1(Bpe1Tokenizer):
    """Merge one pair after the other; `order` says which of the possible merges goes first."""

    def order(self, rank: int, place: int) -> tuple[int, int]:
        return rank, place

    def _merge(self, symbols: Sequence[int]) -> list[int]:
        ids = list(symbols)
        while True:
            merges = ((self._by_pair.get((ids[at], ids[at + 1])), at) for at in range(len(ids) - 1))
            possible = [(self.order(merge.rank, at), at, merge.output) for merge, at in merges if merge is not None]
            if not possible:
                return ids
            _, at, output = min(possible)
            ids[at : at + 2] = [output]


class _RightmostFirst(_NaiveBpe1):
    def order(self, rank: int, place: int) -> tuple[int, int]:
        return rank, -place


class _RanksIgnored(_NaiveBpe1):
    def order(self, rank: int, place: int) -> tuple[int, int]:
        return 0, place


class _Unmerged(Bpe1Tokenizer):
    def _merge(self, symbols: Sequence[int]) -> list[int]:
        return list(symbols)


def _bpe1(kind: type[Bpe1Tokenizer]) -> Callable[[Tokenizer], Tokenizer]:
    def change(tokenizer: Tokenizer) -> Tokenizer:
        return kind(tokenizer.vocab_size, tokenizer.section) if isinstance(tokenizer, Bpe1Tokenizer) else tokenizer

    return change


# SentencePiece -------------------------------------------------------------------------------------------------------


def _spm(change: Callable[[SpmTokenizer], None]) -> Callable[[Tokenizer], Tokenizer]:
    """Return a change of a copy of a SentencePiece tokenizer."""

    def changed(tokenizer: Tokenizer) -> Tokenizer:
        if not isinstance(tokenizer, SpmTokenizer):
            return tokenizer
        other = copy(tokenizer)
        change(other)
        return other

    return changed


def _no_prefix(tokenizer: SpmTokenizer) -> None:
    tokenizer._prefix = []


def _no_space(tokenizer: SpmTokenizer) -> None:
    tokenizer._add_space_prefix = False


def _lowest_first(tokenizer: SpmTokenizer) -> None:
    tokenizer._costs = [-cost for cost in tokenizer._costs]


def _no_bytes(tokenizer: SpmTokenizer) -> None:
    tokenizer.__class__ = _WithoutBytes


class _WithoutBytes(SpmTokenizer):
    """A character outside the vocabulary becomes token 0."""

    def _byte_token(self, byte: int) -> int:
        return -1 if byte & 0xC0 == 0x80 else 0

    def encode(self, text: bytes, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        ids = super().encode(text, add_special=add_special, parse_special=parse_special)
        return [token for token in ids if token >= 0]


class _ControlMatched(Vocabulary):
    @property
    def user_defined(self) -> list[int]:
        wanted = (Attribute.USER_DEFINED, Attribute.CONTROL)
        found = [token for token, bits in enumerate(self.attributes) if bits & SPECIAL in wanted]
        return sorted(found, key=lambda token: -len(self.texts[token]))


def _control_matched(tokenizer: SpmTokenizer) -> None:
    known = tokenizer.vocabulary
    tokenizer.vocabulary = _ControlMatched(known.texts, known.ids, known.attributes)


_TOKENIZERS: Final[tuple[tuple[str, str, str, Callable[[Tokenizer], Any]], ...]] = (
    ("bos-missing", "no BOS is put before the prompt", "SL-8", _without_bos),
    ("pad-stops", "PAD ends generation like EOS", "SL-11", _PadStops),
    ("unk-nothing", "UNK decodes to nothing", "SL-8", _UnknownIsNothing),
    ("bpe-rightmost", "of merges of equal rank the rightmost goes first", "SL-10", _bpe1(_RightmostFirst)),
    ("bpe-ranks-ignored", "the leftmost possible merge goes first, whatever its rank", "SL-10", _bpe1(_RanksIgnored)),
    ("bpe-unmerged", "no merges are applied", "SL-10", _bpe1(_Unmerged)),
    ("space-missing", "no space is put before the text", "GG-5", _spm(_no_space)),
    ("lowest-score-first", "the merge with the lowest score goes first", "GG-5", _spm(_lowest_first)),
    ("byte-fallback-missing", "a character outside the vocabulary becomes token 0", "GG-5", _spm(_no_bytes)),
    ("control-matched", "control tokens are recognised in prompt text", "GG-5", _spm(_control_matched)),
    ("space-stripped", "a leading space of the result is removed", "GG-6", _LeadingSpaceStripped),
)


def tokenizer_hypotheses() -> Iterator[Hypothesis]:
    """Yield the hypotheses of this module."""
    for name, text, rule, change in _TOKENIZERS:
        yield Hypothesis(name, "tokenizer", text, rule, Changes(tokenizer=change))
