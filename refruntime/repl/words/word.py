"""The words of the REPL: one table from which help, completion and the documentation come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Literal

from rich.console import RenderableType

from refruntime.cases.observe import Observation
from refruntime.cases.steps import Step
from refruntime.repl.parsing import Argument, WrongWord
from refruntime.session.session import Session
from refruntime.session.state import SessionError, called
from refruntime.show.visible import quoted

if TYPE_CHECKING:
    from refruntime.repl.desk import Desk

Completes = Literal["nothing", "token", "case", "tensor", "word", "export", "branch", "sampling", "change", "file"]
"""What the arguments of a word can be completed with."""

LONGEST_GUESS: Final = 20
"""Characters of an unknown word that are compared with the known ones."""

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Show progress on something long: a description and the number of steps; gives a function that takes steps done."""


def no_progress(_description: str, _total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
    """Show nothing."""
    return nullcontext(lambda _steps: None)


@dataclass(frozen=True)
class Place:
    """Where a person stands: the calls so far, the session behind them (None without a model), and the way here.

    `observation` is what the last call answered, if the word was a call. `trapped` says that it or an earlier one
    trapped: no runtime answers behind it.
    """

    script: tuple[Step, ...] = ()
    session: Session | None = None
    before: Place | None = None
    observation: Observation | None = None
    trapped: bool = False

    @classmethod
    def of(cls, session: Session, before: Place | None) -> Place:
        """Return the place behind a session."""
        return cls(session.state.script, session, before)

    @property
    def unspeakable(self) -> str:
        """Say what led here that no export does, empty if calls alone lead here."""
        return self.session.state.unspeakable if self.session is not None else ""

    @property
    def calls(self) -> tuple[Step, ...]:
        """Return the calls that lead here, without a prompt that waits for its first token."""
        return called(self.session.state) if self.session is not None else self.script

    @property
    def absent(self) -> str:
        """Say why there is no session."""
        return "a call trapped, so that no runtime answers any more (MEM-6)" if self.trapped else "no model is resident"

    @property
    def present(self) -> Session:
        """Return the session. SessionError without a model."""
        if self.session is None:
            raise SessionError(f"{self.absent}; {'`back`' if self.trapped else '`load`'} leads on")
        return self.session


@dataclass(frozen=True)
class Position:
    """Everything that words change, as a value: the place on each branch, and which branch one is on."""

    place: Place
    branch: str = "main"
    branches: Mapping[str, Place] = field(default_factory=dict)

    def at(self, place: Place) -> Position:
        """Return the position with another place on this branch."""
        return replace(self, place=place)


@dataclass(frozen=True)
class Answer:
    """What a word gives: the position afterwards, a document for machines, what people see, and why it failed if so."""

    position: Position
    document: Mapping[str, Any] = field(default_factory=dict)
    shown: Sequence[RenderableType] = ()
    failed: str = ""
    leaves: bool = False


Function = Callable[["Desk", Position, Sequence[Argument]], Answer]


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
