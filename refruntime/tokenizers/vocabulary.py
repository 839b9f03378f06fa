"""Hold the tokens of a GGUF vocabulary, and find special tokens in raw text."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import Final, Self

from refruntime.errors import InvalidHeader
from refruntime.string_table import StringTable
from refruntime.tokenizers.occurrences import Occurrences
from refruntime.tokenizers.text_numbers import TextNumbers
from refruntime.tokenizers.token_attributes import SPECIAL, Attribute, Bits, derive_attributes, with_attribute

WHITESPACE: Final = b" \t\n\v\f\r"
"""What C's `isspace` accepts in the C locale."""

_HIDDEN: Final = Attribute.UNKNOWN | Attribute.CONTROL


@dataclass(frozen=True)
class Vocabulary:
    """Token texts by id, ids by text, attribute bits by id."""

    texts: Sequence[bytes]
    ids: Mapping[bytes, int]
    attributes: Sequence[int]

    @classmethod
    def build(
        cls,
        tokens: Sequence[bytes],
        types: Sequence[int] | Bits | None = None,
        *,
        model_name: str = "",
        pre_tokenizer: str = "",
        named_roles: Collection[str] = (),
        ends_by_text: bool = True,
    ) -> Self:
        """Take the tokens as llama.cpp does; InvalidHeader for no tokens, equal tokens and misspelt byte tokens.

        A text ends at its first NUL; an empty one is replaced by `[EMPTY_<id>]`. The other arguments are those of
        `derive_attributes`.
        """
        texts = tokens if isinstance(tokens, StringTable) else StringTable.of(tokens)
        if not len(texts):
            raise _invalid("the vocabulary is empty", "0 tokens")
        if texts.has_nul or not texts.lengths.all():
            cut = (text.partition(b"\0")[0] for text in texts)
            texts = StringTable.of([text or b"[EMPTY_%d]" % index for index, text in enumerate(cut)])
        ids = TextNumbers(texts)
        repeated = ids.repeated()
        if repeated is not None:
            first, second = repeated
            raise _invalid("two tokens have the same text", f"ids {first} and {second}, {texts[second]!r}")
        attributes = derive_attributes(
            texts,
            ids,
            types,
            model_name=model_name,
            pre_tokenizer=pre_tokenizer,
            named_roles=named_roles,
            ends_by_text=ends_by_text,
        )
        vocabulary = cls(texts, ids, array("q", attributes.tobytes()))
        for index in with_attribute(attributes, Attribute.BYTE):
            if vocabulary.byte(index) is None:
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
        return sorted(with_attribute(self.attributes, SPECIAL), key=lambda token: -len(self.texts[token]))

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
        tokens = self.special if parse_special else self.user_defined
        if not tokens or not text:
            return [text] if text else []
        automaton = self._all_occurrences if parse_special else self._user_defined_occurrences
        ends = automaton.ends(text)
        if not ends:
            return [text]
        return _Partition(text, self.texts, self.attributes, tokens).split(automaton, ends)

    @cached_property
    def _user_defined_occurrences(self) -> Occurrences:
        return Occurrences([self.texts[token] for token in self.user_defined])

    @cached_property
    def _all_occurrences(self) -> Occurrences:
        return Occurrences([self.texts[token] for token in self.special])


class _Partition:
    """A text of which tokens take their occurrences, the first token of `tokens` before the next."""

    def __init__(self, text: bytes, texts: Sequence[bytes], attributes: Sequence[int], tokens: Sequence[int]) -> None:
        self.text = text
        self.texts = texts
        self.attributes = attributes
        self.tokens = tokens
        self.taken = bytearray(len(text))  # 1 where a token or a strip rule has taken the byte
        self.token_at: dict[int, int] = {}  # where a token begins

    def split(self, automaton: Occurrences, ends: list[tuple[int, int]]) -> list[bytes | int]:
        """Return the fragments and tokens in order."""
        waiting: dict[int, list[int]] = {}  # index of a token -> where it ends, ascending
        nodes = dict(ends)
        for end, node in ends:
            waiting.setdefault(automaton.text(node), []).append(end)
        order = list(waiting)  # longest first, because `tokens` is: what is shorter comes later
        heapify(order)
        while order:
            index = heappop(order)
            missed = [end for end in sorted(waiting.pop(index)) if not self._take(self.tokens[index], end)]
            for end in missed:
                free = end - 1 - self.taken.rfind(1, 0, end)  # bytes that end here and are nobody's
                node = automaton.shorter(nodes[end]) if free else 0
                while node and len(self.texts[self.tokens[automaton.text(node)]]) > free:
                    node = automaton.shorter(node)
                if node:
                    nodes[end] = node
                    following = automaton.text(node)
                    if following not in waiting:
                        heappush(order, following)
                    waiting.setdefault(following, []).append(end)
        return list(self._parts())

    def _take(self, token: int, end: int) -> bool:
        """Take the bytes of one occurrence, if all are free, and the whitespace that the strip rules remove."""
        begin = end - len(self.texts[token])
        if self.taken.find(1, begin, end) >= 0:
            return False
        self.taken[begin:end] = b"\1" * (end - begin)
        self.token_at[begin] = token
        if self.attributes[token] & Attribute.LSTRIP:
            at = begin - 1
            while at >= 0 and not self.taken[at] and self.text[at] in WHITESPACE:
                self.taken[at] = 1
                at -= 1
        if self.attributes[token] & Attribute.RSTRIP:
            at = end
            while at < len(self.text) and not self.taken[at] and self.text[at] in WHITESPACE:
                self.taken[at] = 1
                at += 1
        return True

    def _parts(self) -> Iterator[bytes | int]:
        """Yield runs of free bytes, and tokens where they begin."""
        done = 0
        for begin in sorted(self.token_at):
            yield from self._free_bytes(done, begin)
            yield self.token_at[begin]
            done = begin + len(self.texts[self.token_at[begin]])
        yield from self._free_bytes(done, len(self.text))

    def _free_bytes(self, begin: int, end: int) -> Iterator[bytes]:
        """Yield what no strip rule removed between two tokens: one run, if there is any."""
        first = self.taken.find(0, begin, end)
        if first >= 0:
            yield self.text[first : self.taken.rfind(0, begin, end) + 1]


def _invalid(detail: str, found: str) -> InvalidHeader:
    return InvalidHeader(detail, rule="GG-4", field="tokenizer.ggml.tokens", found=found)
