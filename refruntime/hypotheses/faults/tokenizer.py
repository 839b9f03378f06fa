"""Hypotheses on tokenizers (SL-8, SL-10, SL-11, GG-5, GG-6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from typing import Any, Final

from refruntime.hypotheses.faults.topic import Topic, as_tokenizer
from refruntime.hypotheses.hypothesis import Changes
from refruntime.tokenizers.base import Tokenizer
from refruntime.tokenizers.bpe1 import Bpe1Tokenizer
from refruntime.tokenizers.byte_ids import PAD, UNK
from refruntime.tokenizers.spm import SpmTokenizer
from refruntime.tokenizers.token_attributes import SPECIAL, Attribute
from refruntime.tokenizers.vocabulary import Vocabulary

_BYTE_IDS: Final = ("btok", "bpe1")

FAULTS: Final = Topic("tokenizer")


class Delegating:
    """A tokenizer with one answer replaced."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def _bpe1(kind: type[Bpe1Tokenizer]) -> Changes:
    """Replace a BPE1 tokenizer by another class over its section."""

    def change(tokenizer: Tokenizer) -> Tokenizer:
        return kind(tokenizer.vocab_size, tokenizer.section) if isinstance(tokenizer, Bpe1Tokenizer) else tokenizer

    return Changes(tokenizer=change)


def _copied(change: Callable[[SpmTokenizer], None]) -> Callable[[Tokenizer], Tokenizer]:
    """Return a change of a copy of a SentencePiece tokenizer."""

    def changed(tokenizer: Tokenizer) -> Tokenizer:
        if not isinstance(tokenizer, SpmTokenizer):
            return tokenizer
        other = copy(tokenizer)
        change(other)
        return other

    return changed


def _spm(change: Callable[[SpmTokenizer], None]) -> Changes:
    return Changes(tokenizer=_copied(change))


class _BosMissing(Delegating):
    def encode(self, text: bytes, *, add_special: bool = True) -> list[int]:
        ids = self._tokenizer.encode(text, add_special=add_special)
        return ids[1:] if add_special else ids


@FAULTS.fault("bos-missing", "no BOS is put before the prompt", "SL-8", as_tokenizer)
def _without_bos(tokenizer: Tokenizer) -> Any:
    if tokenizer.kind in _BYTE_IDS:
        return _BosMissing(tokenizer)
    return _copied(_no_prefix)(tokenizer)


@FAULTS.fault("pad-stops", "PAD ends generation like EOS", "SL-11", as_tokenizer)
class _PadStops(Delegating):
    @property
    def stop_ids(self) -> frozenset[int]:
        stops = self._tokenizer.stop_ids
        return stops | {PAD} if self.kind in _BYTE_IDS else stops


@FAULTS.fault("unk-nothing", "UNK decodes to nothing", "SL-8", as_tokenizer)
class _UnknownIsNothing(Delegating):
    def decode(self, ids: Iterable[int]) -> bytes:
        return self._tokenizer.decode(token for token in ids if token != UNK or self.kind not in _BYTE_IDS)


# BPE1 ----------------------------------------------------------------------------------------------------------------


class _NaiveBpe1(Bpe1Tokenizer):
    """Merge one pair after the other; `order` says which of the possible merges goes first."""

    def order(self, rank: int, place: int) -> tuple[int, int]:
        return rank, place

    def merge(self, symbols: Sequence[int]) -> list[int]:
        ids = list(symbols)
        while True:
            merges = ((self.by_pair.get((ids[at], ids[at + 1])), at) for at in range(len(ids) - 1))
            possible = [(self.order(merge.rank, at), at, merge.output) for merge, at in merges if merge is not None]
            if not possible:
                return ids
            _, at, output = min(possible)
            ids[at : at + 2] = [output]


@FAULTS.fault("bpe-rightmost", "of merges of equal rank the rightmost goes first", "SL-10", _bpe1)
class _RightmostFirst(_NaiveBpe1):
    def order(self, rank: int, place: int) -> tuple[int, int]:
        return rank, -place


@FAULTS.fault("bpe-ranks-ignored", "the leftmost possible merge goes first, whatever its rank", "SL-10", _bpe1)
class _RanksIgnored(_NaiveBpe1):
    def order(self, rank: int, place: int) -> tuple[int, int]:
        return 0, place


@FAULTS.fault("bpe-unmerged", "no merges are applied", "SL-10", _bpe1)
class _Unmerged(Bpe1Tokenizer):
    def merge(self, symbols: Sequence[int]) -> list[int]:
        return list(symbols)


# SentencePiece -------------------------------------------------------------------------------------------------------


def _no_prefix(tokenizer: SpmTokenizer) -> None:
    tokenizer.prefix = []


@FAULTS.fault("space-missing", "no space is put before the text", "GG-5", _spm)
def _no_space(tokenizer: SpmTokenizer) -> None:
    tokenizer.add_space_prefix = False


@FAULTS.fault("lowest-score-first", "the merge with the lowest score goes first", "GG-5", _spm)
def _lowest_first(tokenizer: SpmTokenizer) -> None:
    tokenizer.costs = [-cost for cost in tokenizer.costs]


@FAULTS.fault("byte-fallback-missing", "a character outside the vocabulary becomes token 0", "GG-5", _spm)
def _no_bytes(tokenizer: SpmTokenizer) -> None:
    tokenizer.of_byte = [None if byte & 0xC0 == 0x80 else 0 for byte in range(256)]  # one token for each character
    tokenizer.drops_unknown = True


class _ControlMatched(Vocabulary):
    @property
    def user_defined(self) -> list[int]:
        wanted = (Attribute.USER_DEFINED, Attribute.CONTROL)
        found = [token for token, bits in enumerate(self.attributes) if bits & SPECIAL in wanted]
        return sorted(found, key=lambda token: -len(self.texts[token]))


@FAULTS.fault("control-matched", "control tokens are recognised in prompt text", "GG-5", _spm)
def _control_matched(tokenizer: SpmTokenizer) -> None:
    known = tokenizer.vocabulary
    tokenizer.vocabulary = _ControlMatched(known.texts, known.ids, known.attributes)


@FAULTS.fault("space-stripped", "a leading space of the result is removed", "GG-6", as_tokenizer)
class _LeadingSpaceStripped(Delegating):
    def decode(self, ids: Iterable[int]) -> bytes:
        text = self._tokenizer.decode(ids)
        return text.removeprefix(b" ") if self.kind == "spm" else text
