"""Where a person stands, as values: the calls and the session on each branch, and the way that led there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from refruntime.cases.observation import Observation
from refruntime.cases.steps import Step
from refruntime.session.session import Session
from refruntime.session.state import SessionError, called


@dataclass(frozen=True)
class Node:
    """Where a person stands: the calls so far, the session behind them (None without a model), and the way here.

    `observation` is what the last call answered, if the word was a call. `trapped` says that it or an earlier one
    trapped: no runtime answers behind it.
    """

    script: tuple[Step, ...] = ()
    session: Session | None = None
    before: Node | None = None
    observation: Observation | None = None
    trapped: bool = False

    @classmethod
    def of(cls, session: Session, before: Node | None) -> Node:
        """Return the node behind a session."""
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
class Track:
    """A branch: where one stands on it, and what lies ahead, the next first, because `back` came from there."""

    node: Node
    ahead: tuple[Node, ...] = ()

    @property
    def end(self) -> Node:
        """Return the last node of the branch."""
        return self.ahead[-1] if self.ahead else self.node

    def back(self) -> Track | None:
        """Return the track one node earlier, None at its beginning; what was here lies ahead then."""
        before = self.node.before
        return None if before is None else Track(before, (self.node, *self.ahead))

    def forward(self) -> Track | None:
        """Return the track one node later, None at its end."""
        return Track(self.ahead[0], self.ahead[1:]) if self.ahead else None

    def way(self) -> tuple[Node, ...]:
        """Return every node from the beginning to the end."""
        nodes = [*self.ahead[::-1]]
        node: Node | None = self.node
        while node is not None:
            nodes.append(node)
            node = node.before
        return tuple(reversed(nodes))


@dataclass(frozen=True)
class Branches:
    """Everything that words change, as a value: the node on each branch, and which branch one is on."""

    node: Node
    branch: str = "main"
    parked: Mapping[str, Track] = field(default_factory=dict)
    ahead: tuple[Node, ...] = ()

    @property
    def track(self) -> Track:
        """Return the branch that one is on."""
        return Track(self.node, self.ahead)

    @property
    def tracks(self) -> dict[str, Track]:
        """Return all branches by name, this one too."""
        return {**self.parked, self.branch: self.track}

    def at(self, node: Node) -> Branches:
        """Return the branches with another node on this branch, from which nothing lies ahead."""
        return replace(self, node=node, ahead=())

    def on(self, track: Track) -> Branches:
        """Return the branches, elsewhere on the same branch."""
        return replace(self, node=track.node, ahead=track.ahead)
