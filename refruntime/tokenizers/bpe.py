"""Encode and decode with byte-pair merges as llama.cpp does: `tokenizer.ggml.model` = `gpt2`, `gemma4` (GG-5, GG-6).

Text is cut into words by the pre-tokenizer; the characters of a word are merged pair by pair, lowest rank first.
Example with the merges `h i` (rank 0) and `Ġ hi` (rank 1): ` hi` is one word, in the byte alphabet `Ġhi`; `h` and `i`
merge first, then `Ġ` and `hi`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Final

from refruntime.string_table import StringTable
from refruntime.tokenizers.fragments import FragmentTokenizer
from refruntime.tokenizers.merging import merge_neighbours
from refruntime.tokenizers.pre_tokenizers import PreTokenizer
from refruntime.tokenizers.spelling import escape_spaces, from_alphabet, to_alphabet, unescape_spaces
from refruntime.tokenizers.text_numbers import TextNumbers
from refruntime.tokenizers.unknown_bytes import unknown_byte
from refruntime.tokenizers.vocabulary import Vocabulary

REMEMBERED_WORDS: Final = 1 << 16
LONGEST_REMEMBERED_WORD: Final = 64
"""How many words, and of how many characters, a tokenizer remembers with their ids."""


class BpeTokenizer(FragmentTokenizer):
    """Merge neighbouring symbols by rank within words.

    `merges` are pairs `left right`, best first; of equal pairs the first counts.
    """

    kind = "bpe"

    def __init__(
        self,
        vocabulary: Vocabulary,
        merges: Sequence[bytes],
        pre_tokenizer: PreTokenizer,
        *,
        bos_id: int | None = None,
        eos_id: int | None = None,
        stop_ids: Iterable[int] | None = None,
        add_bos: bool = False,
        add_eos: bool = False,
    ) -> None:
        super().__init__(vocabulary, bos_id=bos_id, eos_id=eos_id, stop_ids=stop_ids, add_bos=add_bos, add_eos=add_eos)
        self.pre_tokenizer = pre_tokenizer
        self._merges = merges
        self._known_words: dict[str, list[int]] = {}

    @cached_property
    def _ranks(self) -> TextNumbers:
        """Return the rank of every pair; what follows a NUL is not part of it."""
        merges = self._merges if isinstance(self._merges, StringTable) else StringTable.of(self._merges)
        if merges.has_nul:
            merges = StringTable.of([merge.partition(b"\0")[0] for merge in merges])
        return TextNumbers(merges)

    def encode_fragment(self, fragment: bytes, text: bytes, place: int) -> list[int]:
        """Encode the words of a fragment."""
        ids: list[int] = []
        for word in self.words(fragment):
            known = self._known_words.get(word)
            ids += self._encode_word(word, text, place) if known is None else known
        return ids

    def words(self, text: bytes) -> list[str]:
        """Cut text without special tokens into the words within which symbols merge."""
        raw = escape_spaces(text) if self.pre_tokenizer.raw_bytes else text
        return self.pre_tokenizer.splitter.split(_characters(raw))

    def piece(self, token: int) -> bytes:
        """Return the bytes of one token: nothing for control, unknown, unused and undefined ones (GG-6, section 13)."""
        return self.vocabulary.piece(token, unescape_spaces if self.pre_tokenizer.raw_bytes else from_alphabet)

    def _encode_word(self, word: str, text: bytes, place: int) -> list[int]:
        """Encode a word of `text`, whose fragment begins at `place`."""
        raw = word.encode()
        spelled = raw if self.pre_tokenizer.raw_bytes else to_alphabet(raw)
        token = self.vocabulary.ids.get(spelled)
        if token is not None and self._stays_whole(word):
            ids = [token]
        else:
            ids = []
            for symbol in merge_neighbours(spelled, self._rank_in(spelled)):
                token = self.vocabulary.ids.get(symbol)
                ids += [token] if token is not None else self._byte_tokens(symbol, text, place)
        if len(word) <= LONGEST_REMEMBERED_WORD and len(self._known_words) < REMEMBERED_WORDS:
            self._known_words[word] = ids
        return ids

    def _stays_whole(self, word: str) -> bool:
        """Return whether a word that is a token skips the merges."""
        settings = self.pre_tokenizer
        return settings.ignore_merges or (settings.whole_newlines and not word.strip("\n"))

    def _rank_in(self, text: bytes) -> Callable[[int, int, int], int | None]:
        """Return the rank of the pair of symbols that `text` holds at [start, middle) and [middle, end)."""
        ranks = self._ranks
        return lambda start, middle, end: ranks.get(text[start:middle] + b" " + text[middle:end])

    def _byte_tokens(self, symbol: bytes, text: bytes, place: int) -> list[int]:
        """Return the tokens for the bytes of a symbol that is no token; one without a token is refused or dropped."""
        tokens = []
        for byte in symbol:
            spelling = b"<0x%02X>" % byte if self.pre_tokenizer.raw_bytes else bytes([byte])
            token = self.vocabulary.ids.get(spelling)
            if token is not None:
                tokens.append(token)
            elif not self.drops_unknown:
                raw = bytes([byte]) if self.pre_tokenizer.raw_bytes else from_alphabet(symbol)
                raise unknown_byte(raw[0] if raw else byte, spelling.decode("latin-1"), text, place)
        return tokens


def _characters(text: bytes) -> str:
    """Decode UTF-8; a byte that is none, because a user-defined token has cut a character, becomes U+FFFD."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return re.sub("[\udc80-\udcff]", "\ufffd", text.decode("utf-8", "surrogateescape"))
