"""Encode and decode with a vocabulary of word pieces as llama.cpp does: `tokenizer.ggml.model` = `bert` (GG-5).

A text becomes words: accents and control characters go, letters become small ones, white space parts words, and a
punctuation mark or a Han character is a word of its own. A word is cut into the longest pieces that the vocabulary has,
from its start on; a word that cannot be cut is one unknown token.

Example with the tokens `▁un` and `able`: `Un\u00e1ble!` becomes the words `unable` and `!`, so `▁un`, `able`, unknown.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache, cached_property
from typing import Final

from refruntime.tokenizers.fragments import FragmentTokenizer
from refruntime.tokenizers.spelling import SPACE, unescape_spaces
from refruntime.tokenizers.unicode_classes import WHITE_SPACE, general_categories
from refruntime.tokenizers.vocabulary import Vocabulary

_SPACES: Final = frozenset(map(chr, (*range(9, 14), 0x20, *WHITE_SPACE)))
"""Every code point with the property White_Space."""

_LEFT_OUT: Final = "\ufffd"

_CONTROL: Final = (
    *((0x0, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x600, 0x605), (0x61C, 0x61C), (0x6DD, 0x6DD), (0x70F, 0x70F)),
    *((0x890, 0x891), (0x8E2, 0x8E2), (0x180E, 0x180E), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x2064)),
    *((0x2066, 0x206F), (0xD800, 0xF8FF), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB), (0x110BD, 0x110BD)),
    *((0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0001, 0xE0001)),
    *((0xE0020, 0xE007F), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD)),
)
"""First and last code points of the categories Cc, Cf, Cs and Co in Unicode 15.1; they are left out of words."""

_HAN: Final = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)),
    *((0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)
"""First and last code points that are words of their own, with the gap before 0x2B920 that others have too."""


class WordPieceTokenizer(FragmentTokenizer):
    """Cut words into the longest pieces; `first` and `last` stand around a text, `unknown` for a word that has none."""

    kind = "wordpiece"

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        first: int = 101,
        last: int = 102,
        unknown: int = 100,
        lowercase: bool = True,
        strip_accents: bool = True,
    ) -> None:
        super().__init__(vocabulary, bos_id=first, eos_id=last, stop_ids=(), add_bos=True, add_eos=True)
        self.unknown_id = unknown
        self._lowercase, self._strip_accents = lowercase, strip_accents

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.vocabulary.texts))

    def encode_fragment(self, fragment: bytes, text: bytes, place: int) -> list[int]:
        """Encode the words of a fragment."""
        decoded = fragment.decode("utf-8", "replace")
        found = words(decoded, lowercase=self._lowercase, strip_accents=self._strip_accents)
        return [token for word in found for token in self._pieces(SPACE + word.encode())]

    def piece(self, token: int) -> bytes:
        """Return the bytes of one token, a space before a word; normalisation is not undone."""
        return self.vocabulary.piece(token, unescape_spaces)

    def _pieces(self, word: bytes) -> list[int]:
        """Return the longest pieces of a word from its start on; the unknown token if there is a gap."""
        ids, found, start = self.vocabulary.ids, [], 0
        while start < len(word):
            ends = range(min(len(word), start + self._longest), start, -1)
            end = next((end for end in ends if word[start:end] in ids), None)
            if end is None:
                return [self.unknown_id]
            found.append(ids[word[start:end]])
            start = end
        return found


def words(text: str, *, lowercase: bool, strip_accents: bool) -> Iterator[str]:
    """Yield the words of a text, none of them empty."""
    word = ""
    for original in text:
        character = _without_accent(original) if strip_accents else original
        kind = _kind(character)
        if kind == "left out" or (kind == "mark" and strip_accents):
            continue
        if kind in ("space", "alone") and word:
            yield word
            word = ""
        if kind == "space":
            continue
        character = _small(character) if lowercase else character
        if kind == "alone":
            yield character
        else:
            word += character
    if word:
        yield word


@cache
def _kind(character: str) -> str:
    """Say what a character does: `space`, `left out`, `mark`, `alone` or `letter`."""
    code = ord(character)
    if character in _SPACES:
        return "space"
    if character == _LEFT_OUT or any(first <= code <= last for first, last in _CONTROL):
        return "left out"
    category = general_categories_of()[code]
    if category == "M":
        return "mark"
    if category == "P" or (category == "S" and code < 0x7F) or any(first <= code <= last for first, last in _HAN):
        return "alone"
    return "letter"


@cache
def general_categories_of() -> str:
    """Return `general_categories`, made once."""
    return general_categories()


def _assigned(character: str) -> bool:
    """Say whether Unicode 15.1 knows a character, which newer tables of Python may map in other ways."""
    return general_categories_of()[ord(character)] != "O"


@cache
def _without_accent(character: str) -> str:
    """Return the first character of the canonical decomposition."""
    return unicodedata.normalize("NFD", character)[0] if _assigned(character) else character


@cache
def _small(character: str) -> str:
    """Return the small letter of a character where it has one; of several characters the first."""
    return character.lower()[0] if _assigned(character) else character
