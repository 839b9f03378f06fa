"""What is done with a byte that a vocabulary cannot express: refuse it, as the contract does, or leave it out.

llama.cpp leaves it out without a word. The ABI refuses (GG-5, section 13); people who explore may choose.
"""

from __future__ import annotations

from copy import copy
from typing import Final

from refruntime.errors import GenerationFailed
from refruntime.tokenizers.base import Tokenizer

UNKNOWN_BYTES: Final = ("refuse", "drop")


def with_unknown_bytes(tokenizer: Tokenizer, choice: str) -> Tokenizer:
    """Return a tokenizer that refuses bytes which its vocabulary lacks, or drops them; the given one stays as it is."""
    if choice not in UNKNOWN_BYTES:
        raise ValueError(f"unknown_bytes is {choice!r}; expected {' or '.join(UNKNOWN_BYTES)}")
    if choice == "refuse" or not hasattr(tokenizer, "drops_unknown"):  # the byte vocabularies of SLM1 lack none
        return tokenizer
    changed = copy(tokenizer)
    changed.drops_unknown = True
    if hasattr(changed, "_known_words"):
        changed._known_words = {}
    return changed


def unknown_byte(byte: int, spelling: str, text: bytes, start: int) -> GenerationFailed:
    """Return the refusal of a byte of `text`: the first such byte from `start` on."""
    offset = text.find(bytes([byte]), max(start, 0))
    return GenerationFailed(
        "the vocabulary has no token for a byte of the text; --unknown-bytes drop leaves it out",
        rule="GG-5",
        field="tokenizer.ggml.tokens",
        offset=offset if offset >= 0 else None,
        expected=spelling,
        found=f"byte 0x{byte:02X}",
    )
