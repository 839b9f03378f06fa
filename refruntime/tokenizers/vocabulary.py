"""Hold the tokens of a GGUF vocabulary, and find special tokens in raw text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

from refruntime.errors import InvalidHeader
from refruntime.tokenizers.token_attributes import SPECIAL, Attribute, derive_attributes

WHITESPACE: Final = b" \t\n\v\f\r"
"""What C's `isspace` accepts in the C locale."""

_HIDDEN: Final = Attribute.UNKNOWN | Attribute.CONTROL


@dataclass(frozen=True)
class Vocabulary:
    """Token texts by id, ids by text, attribute bits by id."""

    texts: list[bytes]
    ids: dict[bytes, int]
    attributes: list[int]

    @classmethod
    def build(
        cls,
        tokens: Sequence[bytes],
        types: Sequence[int] | None = None,
        *,
        model_name: str = "",
        pre_tokenizer: str = "",
        named_roles: Collection[str] = (),
    ) -> Self:
        """Take the tokens as llama.cpp does; InvalidHeader for no tokens, equal tokens and misspelt byte tokens.

        A text ends at its first NUL; an empty one is replaced by `[EMPTY_<id>]`. The other arguments are those of
        `derive_attributes`.
        """
        texts = [token.partition(b"\0")[0] or b"[EMPTY_%d]" % index for index, token in enumerate(tokens)]
        ids: dict[bytes, int] = {}
        for index, text in enumerate(texts):
            if ids.setdefault(text, index) != index:
                raise _invalid("two tokens have the same text", f"ids {ids[text]} and {index}, {text!r}")
        if not ids:
            raise _invalid("the vocabulary is empty", "0 tokens")
        attributes = derive_attributes(
            ids, types, model_name=model_name, pre_tokenizer=pre_tokenizer, named_roles=named_roles
        )
        vocabulary = cls(texts, ids, attributes)
        for index, attribute in enumerate(attributes):
            if attribute & Attribute.BYTE and vocabulary.byte(index) is None:
                raise _invalid("a byte token is not spelt <0xHH>", f"id {index}, {texts[index]!r}")
        return vocabulary

    def byte(self, token: int) -> int | None:
        """Return the byte that a token spelt `<0xHH>` stands for, None for another spelling."""
        text = self.texts[token]
        digits = text[3:5]
        if len(text) != 6 or text[:3] != b"<0x" or text[5:] != b">" or not digits.isalnum():
            return None
        try:
            return int(digits, 16)
        except ValueError:
            return None

    @cached_property
    def user_defined(self) -> list[int]:
        """Return the ids that are matched in raw text before anything else, longest text first, then lowest id.

        These are user-defined tokens; control and unknown tokens are not parsed (section 13).
        """
        return [token for token in self.special if self.attributes[token] & SPECIAL == Attribute.USER_DEFINED]

    @cached_property
    def special(self) -> list[int]:
        """Return the ids of control, user-defined and unknown tokens, longest text first, then lowest id."""
        found = [token for token, bits in enumerate(self.attributes) if bits & SPECIAL]
        return sorted(found, key=lambda token: -len(self.texts[token]))

    def piece(self, token: int, unspell: Callable[[bytes], bytes]) -> bytes:
        """Return the bytes of one token; `unspell` gives those of a normal token's text.

        Control, unknown, unused and undefined tokens give nothing, user-defined ones their text (GG-6, section 13).
        """
        text, bits = self.texts[token], self.attributes[token]
        if bits & _HIDDEN:
            return b""
        if bits & Attribute.USER_DEFINED:
            return text
        if bits & Attribute.NORMAL:
            return unspell(text)
        byte = self.byte(token) if bits & Attribute.BYTE else None
        return b"" if byte is None else bytes([byte])

    def split(self, text: bytes, *, parse_special: bool = False) -> list[bytes | int]:
        """Split text into raw fragments and user-defined tokens, as llama.cpp's `tokenizer_st_partition`.

        With `parse_special` control and unknown tokens are found too. One token after the other takes its occurrences
        out of the fragments that are left, leftmost first; its strip rules remove the whitespace beside them. No
        fragment is empty.
        """
        fragments: list[bytes | int] = [text] if text else []
        for token in self.special if parse_special else self.user_defined:
            if self.texts[token] in text:
                fragments = [part for fragment in fragments for part in self._split_fragment(fragment, token)]
        return fragments

    def _split_fragment(self, fragment: bytes | int, token: int) -> list[bytes | int]:
        if isinstance(fragment, int):
            return [fragment]
        bits, text = self.attributes[token], self.texts[token]
        parts: list[bytes | int] = []
        start = 0
        while (match := fragment.find(text, start)) >= 0:
            left = fragment[start:match]
            if left := left.rstrip(WHITESPACE) if bits & Attribute.LSTRIP else left:
                parts.append(left)
            parts.append(token)
            start = match + len(text)
            if bits & Attribute.RSTRIP:
                while start < len(fragment) and fragment[start] in WHITESPACE:
                    start += 1
        if start < len(fragment):
            parts.append(fragment[start:])
        return parts


def _invalid(detail: str, found: str) -> InvalidHeader:
    return InvalidHeader(detail, rule="GG-4", field="tokenizer.ggml.tokens", found=found)
