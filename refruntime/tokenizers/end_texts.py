"""Know tokens by their text as llama.cpp does: ends of a generation, marks of fill-in-the-middle prompts (GG-5, GG-6).

The texts are dated data, `end_texts.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

FILL_IN_THE_MIDDLE_ENDS: Final = ("fim_pad", "fim_rep", "fim_sep")
"""Roles in fill-in-the-middle prompts whose token ends a generation."""


@dataclass(frozen=True)
class Exemption:
    """A text of `ends` that ends nothing where the vocabulary has a token of every group; it is then of `type`."""

    text: bytes
    type: str
    groups: tuple[tuple[bytes, ...], ...]

    def holds(self, ids: Mapping[bytes, int]) -> bool:
        """Say whether this vocabulary is such a one."""
        return self.text in ids and all(any(text in ids for text in group) for group in self.groups)


@dataclass(frozen=True)
class EndTexts:
    """The lists of one version of llama.cpp; `source` says which, `date` when they were read."""

    source: str
    date: str
    ends: tuple[bytes, ...]
    exemptions: tuple[Exemption, ...]
    fill_in_the_middle: Mapping[str, tuple[bytes, ...]]

    def no_ends(self, ids: Mapping[bytes, int]) -> set[int]:
        """Return the tokens that end nothing in this vocabulary, whatever list or metadata key names them."""
        return {ids[exemption.text] for exemption in self.exemptions if exemption.holds(ids)}


@cache
def end_texts() -> EndTexts:
    """Return the lists that are packaged with the project."""
    text = resources.files("refruntime.tokenizers").joinpath("end_texts.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    return EndTexts(
        source=document["source"],
        date=document["date"].isoformat(),
        ends=_encoded(document["ends"]),
        exemptions=tuple(
            Exemption(each["text"].encode(), each["type"], tuple(map(_encoded, each["groups"])))
            for each in document["exemption"]
        ),
        fill_in_the_middle={role: _encoded(texts) for role, texts in document["fill_in_the_middle"].items()},
    )


def _encoded(texts: list[str]) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)
