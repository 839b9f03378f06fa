"""What tokenizers of GGUF share: special tokens part a text into fragments, BOS and EOS stand around it."""

from __future__ import annotations

from collections.abc import Iterable

from refruntime.tokenizers.vocabulary import Vocabulary


class FragmentTokenizer:
    """Encode a text fragment by fragment.

    `bos_id` and `eos_id` must be given where `add_bos` and `add_eos` are set. Without `stop_ids` EOS alone stops. A
    variation sets on a copy: `prefix`, the ids before a text, `drops_unknown`, and `vocabulary`.
    """

    drops_unknown = False

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        bos_id: int | None,
        eos_id: int | None,
        stop_ids: Iterable[int] | None,
        add_bos: bool,
        add_eos: bool,
    ) -> None:
        self.vocabulary = vocabulary
        self.bos_id, self.eos_id = bos_id, eos_id
        ends = [eos_id] if eos_id is not None else []
        self.stop_ids = frozenset(ends if stop_ids is None else stop_ids)
        self.prefix = [bos_id] if add_bos and bos_id is not None else []
        self._suffix = [eos_id] if add_eos and eos_id is not None else []

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
        place = 0
        for fragment in self.vocabulary.split(text, parse_special=parse_special):
            if isinstance(fragment, int):
                ids.append(fragment)
                place += len(self.vocabulary.texts[fragment])
                continue
            place = text.find(fragment, place)
            ids += self.encode_fragment(fragment, text, place)
            place += len(fragment)
        return ids + self._suffix if add_special else ids

    def encode_fragment(self, fragment: bytes, text: bytes, place: int) -> list[int]:
        """Encode what stands at `place` of `text` between two special tokens."""
        raise NotImplementedError

    def decode(self, ids: Iterable[int]) -> bytes:
        """Join the bytes of the tokens; a leading space is kept (GG-6)."""
        return b"".join(map(self.piece, ids))

    def piece(self, token: int) -> bytes:
        """Return the bytes of one token: nothing for control, unknown, unused and undefined ones (GG-6, section 13)."""
        raise NotImplementedError
