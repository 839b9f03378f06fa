"""Encode and decode with a SentencePiece vocabulary as llama.cpp does: `tokenizer.ggml.model` = `llama` (GG-5, GG-6).

Example with the tokens `▁`, `h`, `i`, `hi` (score -1) and `▁hi` (score -2): the text `hi` gets a space in front, spaces
become `▁`, so the symbols are `▁ h i`; of the two neighbours that form a token `hi` scores best, then `▁` + `hi` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from refruntime.errors import GenerationFailed
from refruntime.tokenizers.token_attributes import Attribute
from refruntime.tokenizers.vocabulary import Vocabulary

SPACE: Final = "▁".encode()
"""U+2581, which stands for a space in token texts."""

_HIDDEN: Final = Attribute.UNKNOWN | Attribute.CONTROL


class SpmTokenizer:
    """Merge neighbouring symbols greedily by score, fall back to bytes.

    `scores` are f32 values by id; `bos_id` and `eos_id` must be given where `add_bos` and `add_eos` are set.
    """

    kind = "spm"

    def __init__(
        self,
        vocabulary: Vocabulary,
        scores: Sequence[float],
        *,
        bos_id: int | None = 1,
        eos_id: int | None = 2,
        extra_stop_ids: Iterable[int] = (),
        add_bos: bool = True,
        add_eos: bool = False,
        add_space_prefix: bool = True,
    ) -> None:
        self.vocabulary = vocabulary
        self.eos_id = eos_id
        self.stop_ids = frozenset(extra_stop_ids) | ({eos_id} if eos_id is not None else set())
        self._prefix = [bos_id] if add_bos and bos_id is not None else []
        self._suffix = [eos_id] if add_eos and eos_id is not None else []
        self._add_space_prefix = add_space_prefix
        self._costs = [-score for score in scores]
        self._of_byte = [self._find_byte(byte) for byte in range(256)]

    @property
    def vocab_size(self) -> int:
        """Return the number of ids."""
        return len(self.vocabulary.texts)

    def encode(self, text: bytes, *, add_special: bool = True) -> list[int]:
        """Encode UTF-8 text; GenerationFailed for a byte that the vocabulary cannot express (section 13)."""
        ids = list(self._prefix) if add_special else []
        lead = b" " if self._add_space_prefix else b""
        for fragment in self.vocabulary.split(text):
            if isinstance(fragment, int):
                ids.append(fragment)
            else:  # raw text stands at the start or behind a token; in both places a space is put in front
                ids += self._encode_fragment((lead + fragment).replace(b" ", SPACE))
        return ids + self._suffix if add_special else ids

    def decode(self, ids: Iterable[int]) -> bytes:
        """Join the bytes of the tokens; a leading space is kept (GG-6)."""
        return b"".join(map(self.piece, ids))

    def piece(self, token: int) -> bytes:
        """Return the bytes of one token: nothing for control, unknown, unused and undefined ones (GG-6, section 13)."""
        text, bits = self.vocabulary.texts[token], self.vocabulary.attributes[token]
        if bits & _HIDDEN:
            return b""
        if bits & Attribute.USER_DEFINED:
            return text
        if bits & Attribute.NORMAL:
            return text.replace(SPACE, b" ")
        byte = self.vocabulary.byte(token) if bits & Attribute.BYTE else None
        return b"" if byte is None else bytes([byte])

    def _find_byte(self, byte: int) -> int | None:
        ids = self.vocabulary.ids
        return ids.get(b"<0x%02X>" % byte, ids.get(bytes([byte])))

    def _encode_fragment(self, text: bytes) -> list[int]:
        """Merge the characters of a text whose spaces are escaped already.

        A symbol is the bytes from its start with its length; symbols form a linked list. The heap holds the pairs that
        form a token: best score first, then leftmost. A pair is stale when one of its symbols has changed since. Every
        symbol of more than one character is a token, so only single characters can be unknown.
        """
        ids, costs = self.vocabulary.ids, self._costs
        starts = _character_starts(text)
        count = len(starts)
        lengths = [end - start for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
        following = [*range(1, count), -1]
        preceding = list(range(-1, count - 1))
        heap: list[tuple[float, int, int, int]] = []  # cost, left, right, length of both
        for left in range(count - 1):
            size = lengths[left] + lengths[left + 1]
            token = ids.get(text[starts[left] : starts[left] + size])
            if token is not None:
                heap.append((costs[token], left, left + 1, size))
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
                    size = lengths[first] + lengths[second]
                    token = ids.get(text[starts[first] : starts[first] + size])
                    if token is not None:
                        heappush(heap, (costs[token], first, second, size))
        output: list[int] = []
        symbol = 0 if count else -1
        while symbol >= 0:
            raw = text[starts[symbol] : starts[symbol] + lengths[symbol]]
            token = ids.get(raw)
            output += [token] if token is not None else map(self._byte_token, raw)
            symbol = following[symbol]
        return output

    def _byte_token(self, byte: int) -> int:
        token = self._of_byte[byte]
        if token is None:
            raise GenerationFailed(
                "the vocabulary has no token for a byte of the text",
                rule="GG-5",
                field="tokenizer.ggml.tokens",
                expected=f"<0x{byte:02X}>",
            )
        return token


def _character_starts(text: bytes) -> list[int]:
    """Return the offset of every UTF-8 character."""
    return [at for at, byte in enumerate(text) if byte & 0xC0 != 0x80]
