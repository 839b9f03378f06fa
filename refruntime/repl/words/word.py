"""The words of the REPL: one table from which help, completion and the documentation come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, Literal

from rich.console import RenderableType

from refruntime.repl.desk import Desk
from refruntime.repl.parsing import Argument, WrongWord
from refruntime.repl.place import Position
from refruntime.show.visible import quoted

Completes = Literal["nothing", "token", "case", "tensor", "word", "export", "branch", "sampling", "change", "file"]
"""What the arguments of a word can be completed with."""

LONGEST_GUESS: Final = 20
"""Characters of an unknown word that are compared with the known ones."""


@dataclass(frozen=True)
class Answer:
    """What a word gives: the position afterwards, a document for machines, what people see, and why it failed if so."""

    position: Position
    document: Mapping[str, Any] = field(default_factory=dict)
    shown: Sequence[RenderableType] = ()
    failed: str = ""
    leaves: bool = False


Function = Callable[[Desk, Position, Sequence[Argument]], Answer]


@dataclass(frozen=True)
class Word:
    """One word: how its arguments are written, what it does in one line, an example, and the function."""

    name: str
    arguments: str
    help: str
    example: str
    function: Function
    completes: Completes = "nothing"

    @property
    def usage(self) -> str:
        """Return the word with its arguments."""
        return f"{self.name} {self.arguments}".strip()


@dataclass(frozen=True)
class Family:
    """Words that belong together, under a heading."""

    title: str
    words: tuple[Word, ...]


class Words:
    """All words by name."""

    def __init__(self, families: Iterable[Family]) -> None:
        self.families = tuple(families)
        self.by_name = {word.name: word for family in self.families for word in family.words}

    def find(self, name: str) -> Word:
        """Return a word. WrongWord for an unknown one, with those that are meant perhaps."""
        if name in self.by_name:
            return self.by_name[name]
        near = get_close_matches(name.lower()[:LONGEST_GUESS], self.by_name, cutoff=0.5)
        perhaps = f"; perhaps {' or '.join(near)}?" if near else ";"
        raise WrongWord(f"unknown word {quoted(name.encode('utf-8', 'surrogateescape'))}{perhaps} `help` lists all")
