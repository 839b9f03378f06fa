"""The protocol that every tokenizer answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Tokenizer(Protocol):
    """Encode UTF-8 bytes into ids and decode ids into bytes.

    `eos_id` is the token of which one terminal occurrence is removed from an encoded prompt (GEN-2); `stop_ids` end a
    generation (SL-11, GG-6).
    """

    @property
    def kind(self) -> str:
        """Return the short name of the tokenizer: `btok`, `bpe1`, `spm`, `bpe`."""

    @property
    def vocab_size(self) -> int:
        """Return the number of ids."""

    @property
    def eos_id(self) -> int | None:
        """Return the id that ends a text, or None."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """Return the ids that stop a generation."""

    def encode(self, text: bytes, *, add_special: bool = True) -> list[int]:
        """Encode valid UTF-8 `text`; with `add_special` BOS and EOS are added as the model says."""

    def decode(self, ids: Iterable[int]) -> bytes:
        """Decode ids into bytes (not necessarily valid UTF-8)."""
