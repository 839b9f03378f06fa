"""Where a person stands, as values: the calls and the session on each branch, and the way that led there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from refruntime.cases.observe import Observation
from refruntime.cases.steps import Step
from refruntime.session.session import Session
from refruntime.session.state import SessionError, called


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
