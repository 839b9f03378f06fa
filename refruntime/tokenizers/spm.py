"""Encode and decode with a SentencePiece vocabulary as llama.cpp does: `tokenizer.ggml.model` = `llama` (GG-5, GG-6).

Example with the tokens `▁`, `h`, `i`, `hi` (score -1) and `▁hi` (score -2): the text `hi` gets a space in front, spaces
become `▁`, so the symbols are `▁ h i`; of the two neighbours that form a token `hi` scores best, then `▁` + `hi` does.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from refruntime.tokenizers.fragments import FragmentTokenizer
from refruntime.tokenizers.merging import merge_neighbours
from refruntime.tokenizers.spelling import escape_spaces, unescape_spaces
from refruntime.tokenizers.unknown_bytes import unknown_byte
from refruntime.tokenizers.vocabulary import Vocabulary


class SpmTokenizer(FragmentTokenizer):
    """Merge neighbouring symbols greedily by score, fall back to bytes.

    `scores` are f32 values by id. A variation sets on a copy, beside what every tokenizer of fragments has:
    `add_space_prefix`, `costs` by id (the lowest merges first) and `of_byte`, the token of each byte.
    """

    kind = "spm"

    def __init__(
        self,
        vocabulary: Vocabulary,
        scores: Sequence[float] | NDArray[np.float32],
        *,
        bos_id: int | None = 1,
        eos_id: int | None = 2,
        stop_ids: Iterable[int] | None = None,
        add_bos: bool = True,
        add_eos: bool = False,
        add_space_prefix: bool = True,
    ) -> None:
        super().__init__(vocabulary, bos_id=bos_id, eos_id=eos_id, stop_ids=stop_ids, add_bos=add_bos, add_eos=add_eos)
        self.add_space_prefix = add_space_prefix
        self._scores = scores

    @cached_property
    def costs(self) -> Sequence[float]:
        """Return what each token costs: the lowest cost merges first."""
        return array("d", (-np.asarray(self._scores, np.float64)).tobytes())

    @cached_property
    def of_byte(self) -> list[int | None]:
        """Return the token of each byte."""
        return [self._find_byte(byte) for byte in range(256)]

    def piece(self, token: int) -> bytes:
        """Return the bytes of one token: nothing for control, unknown, unused and undefined ones (GG-6, section 13)."""
        return self.vocabulary.piece(token, unescape_spaces)

    def _find_byte(self, byte: int) -> int | None:
        ids = self.vocabulary.ids
        return ids.get(b"<0x%02X>" % byte, ids.get(bytes([byte])))

    def encode_fragment(self, fragment: bytes, text: bytes, place: int) -> list[int]:
        """Merge the characters of a fragment; raw text gets a space in front, at the start and behind a token.

        Every symbol of more than one character is a token, so only single characters can be unknown.
        """
        fragment = escape_spaces(b" " + fragment if self.add_space_prefix else fragment)
        ids, costs = self.vocabulary.ids, self.costs

        def cost_of(start: int, _middle: int, end: int) -> float | None:
            token = ids.get(fragment[start:end])
            return None if token is None else costs[token]

        output: list[int] = []
        for symbol in merge_neighbours(fragment, cost_of):
            token = ids.get(symbol)
            output += [token] if token is not None else self._byte_tokens(symbol, text, place)
        return output

    def _byte_tokens(self, symbol: bytes, text: bytes, place: int) -> list[int]:
        """Return the tokens for the bytes of a symbol that is no token; one without a token is refused or dropped."""
        found = [(byte, self.of_byte[byte]) for byte in symbol]
        for byte, token in found:
            if token is None and not self.drops_unknown:
                raise unknown_byte(byte, f"<0x{byte:02X}>", text, place)
        return [token for _, token in found if token is not None]
