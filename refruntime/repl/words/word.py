"""The words of the REPL: one table from which help, completion and the documentation come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from rich.console import RenderableType

from refruntime.repl.node import Branches
from refruntime.repl.parameters import WordParameter, take_all
from refruntime.repl.parsing import Argument, WrongWord
from refruntime.repl.tools import Tools
from refruntime.show.visible import quoted

LONGEST_GUESS: Final = 20
"""Characters of an unknown word that are compared with the known ones."""


@dataclass(frozen=True)
class WordAnswer:
    """What a word gives: the position afterwards, a document for machines, what people see, and why it failed if so."""

    branches: Branches
    document: Mapping[str, Any] = field(default_factory=dict)
    shown: Sequence[RenderableType] = ()
    failed: str = ""
    leaves: bool = False


Function = Callable[..., WordAnswer]
"""What a word does: it is given the tools, the branches, and by their names what the parameters read."""


@dataclass(frozen=True)
class Word:
    """One word: what it does in one line, an example, the function, and what it takes.

    `also` are shorter names; an empty line in a terminal obeys the last word that `repeats` once more.
    """

    name: str
    help: str
    example: str
    function: Function
    parameters: tuple[WordParameter, ...] = ()
    also: tuple[str, ...] = ()
    repeats: bool = False

    @property
    def usage(self) -> str:
        """Return the word with its arguments."""
        return f"{self.name} {self.arguments}".strip()

    @property
    def arguments(self) -> str:
        """Return how the arguments are written."""
        return " ".join(parameter.usage for parameter in self.parameters)

    def obey(self, tools: Tools, branches: Branches, arguments: Sequence[Argument]) -> WordAnswer:
        """Do what the word does with arguments: WrongWord for others than it takes, and what the function raises."""
        return self.function(tools, branches, **take_all(self.parameters, arguments, self.arguments))


def word(
    name: str, help_: str, example: str, *parameters: WordParameter, also: tuple[str, ...] = (), repeats: bool = False
) -> Callable[[Function], Word]:
    """Return what makes a word of the function that does it; the arguments as those of `Word`."""
    return lambda function: Word(name, help_, example, function, parameters, also, repeats)


@dataclass(frozen=True)
class WordFamily:
    """Words that belong together, under a heading."""

    title: str
    words: tuple[Word, ...]


class Words:
    """All words by name."""

    def __init__(self, families: Iterable[WordFamily]) -> None:
        self.families = tuple(families)
        self.by_name = {word.name: word for family in self.families for word in family.words}
        self.also = {short: word for word in self.by_name.values() for short in word.also}

    def __contains__(self, name: object) -> bool:
        """Say whether a line may begin with this name."""
        return name in self.by_name or name in self.also

    def find(self, name: str) -> Word:
        """Return a word. WrongWord for an unknown one, with those that are meant perhaps."""
        word = self.by_name.get(name) or self.also.get(name)
        if word is not None:
            return word
        near = get_close_matches(name.lower()[:LONGEST_GUESS], self.by_name, cutoff=0.5)
        perhaps = f"; perhaps {' or '.join(near)}?" if near else ";"
        raise WrongWord(f"unknown word {quoted(name.encode('utf-8', 'surrogateescape'))}{perhaps} `help` lists all")
