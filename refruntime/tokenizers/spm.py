"""Encode and decode with a SentencePiece vocabulary as llama.cpp does: `tokenizer.ggml.model` = `llama` (GG-5, GG-6).

Example with the tokens `▁`, `h`, `i`, `hi` (score -1) and `▁hi` (score -2): the text `hi` gets a space in front, spaces
become `▁`, so the symbols are `▁ h i`; of the two neighbours that form a token `hi` scores best, then `▁` + `hi` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from refruntime.tokenizers.merging import merge_neighbours
from refruntime.tokenizers.spelling import escape_spaces, unescape_spaces
from refruntime.tokenizers.unknown_bytes import unknown_byte
from refruntime.tokenizers.vocabulary import Vocabulary


class SpmTokenizer:
    """Merge neighbouring symbols greedily by score, fall back to bytes.

    `scores` are f32 values by id; `bos_id` and `eos_id` must be given where `add_bos` and `add_eos` are set. Without
    `stop_ids` EOS alone stops. A variation sets on a copy: `prefix`, `add_space_prefix`, `costs` by id (the lowest
    merges first), `of_byte`, the token of each byte, `drops_unknown`, and `vocabulary`.
    """

    kind = "spm"

    def __init__(
        self,
        vocabulary: Vocabulary,
        scores: Sequence[float],
        *,
        bos_id: int | None = 1,
        eos_id: int | None = 2,
        stop_ids: Iterable[int] | None = None,
        add_bos: bool = True,
        add_eos: bool = False,
        add_space_prefix: bool = True,
    ) -> None:
        self.drops_unknown = False
        self.vocabulary = vocabulary
        self.bos_id = bos_id
        self.eos_id = eos_id
        ends = [eos_id] if eos_id is not None else []
        self.stop_ids = frozenset(ends if stop_ids is None else stop_ids)
        self.prefix = [bos_id] if add_bos and bos_id is not None else []
        self._suffix = [eos_id] if add_eos and eos_id is not None else []
        self.add_space_prefix = add_space_prefix
        self.costs = [-score for score in scores]
        self.of_byte = [self._find_byte(byte) for byte in range(256)]

    @property
    def adds_eos(self) -> bool:
        """Say whether EOS is added behind a text."""
        return bool(self._suffix)

    @property
    def adds_bos(self) -> bool:
        """Return whether `encode` puts BOS before a text."""
        return bool(self.prefix)

    @property
    def vocab_size(self) -> int:
        """Return the number of ids."""
        return len(self.vocabulary.texts)

    def encode(self, text: bytes, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Encode UTF-8 text; GenerationFailed for a byte that the vocabulary cannot express (section 13).

        With `parse_special` the texts of control tokens in `text` are those tokens, as a chat template means them.
        """
        ids = list(self.prefix) if add_special else []
        lead = b" " if self.add_space_prefix else b""
        place = 0
        for fragment in self.vocabulary.split(text, parse_special=parse_special):
            if isinstance(fragment, int):
                ids.append(fragment)
                place += len(self.vocabulary.texts[fragment])
                continue
            place = text.find(fragment, place)
            # raw text stands at the start or behind a token; in both places a space is put in front
            ids += self._encode_fragment(escape_spaces(lead + fragment), text, place)
            place += len(fragment)
        return ids + self._suffix if add_special else ids

    def decode(self, ids: Iterable[int]) -> bytes:
        """Join the bytes of the tokens; a leading space is kept (GG-6)."""
        return b"".join(map(self.piece, ids))

    def piece(self, token: int) -> bytes:
        """Return the bytes of one token: nothing for control, unknown, unused and undefined ones (GG-6, section 13)."""
        return self.vocabulary.piece(token, unescape_spaces)

    def _find_byte(self, byte: int) -> int | None:
        ids = self.vocabulary.ids
        return ids.get(b"<0x%02X>" % byte, ids.get(bytes([byte])))

    def _encode_fragment(self, fragment: bytes, text: bytes, place: int) -> list[int]:
        """Merge the characters of a fragment whose spaces are escaped already; it begins at `place` of `text`.

        Every symbol of more than one character is a token, so only single characters can be unknown.
        """
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
