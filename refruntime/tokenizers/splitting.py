"""Cut text into words by regular expressions that know Unicode classes, as llama.cpp's `unicode_regex_split` does.

A pre-tokenizer is a sequence of steps. Each step cuts every fragment that the steps before have left: a match is one
fragment, and so is what lies between two matches. A step is a pattern or, where a pattern would need quadratic time, a
function that finds the cuts.

Patterns that name a Unicode class (`\\p{L}`) see the collapsed text, in which one character stands for all code points
of a class; the others see the text itself. In both every white space beyond ASCII is a vertical tab, and `\\s`, `\\d`
mean ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from refruntime.tokenizers.unicode_classes import (
    HAN_LETTER,
    HAN_UNASSIGNED,
    LETTER,
    MARK,
    NUMBER,
    PUNCTUATION,
    SYMBOL,
    collapse,
    plain_spaces,
)

Cutter = Callable[[str], list[int]]
"""Gives the ends of the pieces of a collapsed fragment, rising, the last one its length; empty for an empty one."""

_CLASSES: Final = {
    "L": rf"A-Za-z{LETTER}{HAN_LETTER}",
    "N": rf"0-9{NUMBER}",
    "P": rf"!-#%-*,-/:;?@\[-\]_{{}}{PUNCTUATION}",
    "M": MARK,
    "S": rf"$+<->\^`|~{SYMBOL}",
    "Upper": rf"A-Z{LETTER}{HAN_LETTER}",
    "Lower": rf"a-z{LETTER}{HAN_LETTER}",
    "Han": HAN_LETTER + HAN_UNASSIGNED,
    "OtherLetter": rf"A-Za-z{LETTER}",
}
"""Members of each class in collapsed text, as they stand between brackets; the case of letters is that of ASCII alone,
so that all others are upper and lower."""


@dataclass(frozen=True)
class Splitter:
    """Cut text into words with `steps`: patterns in the notation of `re` plus `\\p{..}`, or cutters."""

    steps: tuple[str | Cutter, ...]

    @cached_property
    def _cutters(self) -> list[tuple[bool, Cutter]]:
        """Pair each step with whether it sees the collapsed text."""
        return [
            (r"\p{" in step, _by_pattern(compile_pattern(step))) if isinstance(step, str) else (True, step)
            for step in self.steps
        ]

    def split(self, text: str) -> list[str]:
        """Return the words; joined they are the text, none is empty."""
        ends = [len(text)] if text else []
        collapsed, spaced = collapse(text), plain_spaces(text)
        for sees_classes, cutter in self._cutters:
            ends = _cut(collapsed if sees_classes else spaced, ends, cutter)
        return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern; a class becomes its members, in brackets of their own unless it stands between brackets."""
    parts = []
    inside = False
    for token in re.findall(r"\\p\{\w+\}|\\.|.", pattern, re.DOTALL):
        if token.startswith(r"\p{"):
            members = _CLASSES[token[3:-1]]
            parts.append(members if inside else f"[{members}]")
        else:
            inside = (inside or token == "[") and token != "]"
            parts.append(token)
    return re.compile("".join(parts), re.ASCII)


def _by_pattern(pattern: re.Pattern[str]) -> Cutter:
    def cutter(fragment: str) -> list[int]:
        ends = []
        last = 0
        for match in pattern.finditer(fragment):
            start, end = match.span()
            if start > last:
                ends.append(start)
            ends.append(end)
            last = end
        if last < len(fragment):
            ends.append(len(fragment))
        return ends

    return cutter


def _cut(view: str, ends: Sequence[int], cutter: Cutter) -> list[int]:
    """Apply a cutter to every fragment; `ends` are the ends of the fragments, and the result those of the pieces."""
    if len(ends) == 1:
        return cutter(view)
    pieces = []
    start = 0
    for end in ends:
        pieces += [start + at for at in cutter(view[start:end])]
        start = end
    return pieces


# Cutters -------------------------------------------------------------------------------------------------------------

_NUMBERS: Final = re.compile(f"[{_CLASSES['N']}]+", re.ASCII)
_DIGITS: Final = re.compile("[0-9]+")


def groups_of_three(fragment: str) -> list[int]:
    """Cut runs of numbers into groups of three, counted from their end; text before a run joins its first group.

    So `ab1234cd567` gives `ab1`, `234`, `cd567`: that the text joins is how llama.cpp does it.
    """
    ends: list[int] = []
    for match in _NUMBERS.finditer(fragment):
        start, end = match.span()
        ends += range(start + ((end - start) % 3 or 3), end + 1, 3)
    if fragment and (not ends or ends[-1] < len(fragment)):
        ends.append(len(fragment))
    return ends


def before_threes(fragment: str) -> list[int]:
    r"""Cut before every ASCII digit that a multiple of three digits begins with: `(?=(\d{3})+(?!\d))`."""
    ends: list[int] = []
    for match in _DIGITS.finditer(fragment):
        start, end = match.span()
        ends += range(start + (end - start) % 3, end - 2, 3)
    return [at for at in ends if at > 0] + ([len(fragment)] if fragment else [])
