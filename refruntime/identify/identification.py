"""What is known of a build after it was asked: one value for the card, the profile and the JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from refruntime.cases.features import Found
from refruntime.cases.steps import Case
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.identify.checksum import Checksum
from refruntime.identify.fields import LearntField
from refruntime.identify.texts import Text

Source = Literal["published", "observed", "assumed"]


@dataclass(frozen=True)
class Evidence:
    """An answer that leaves no other value: under `instead` the oracle says `expected` where the build says `found`."""

    case: str
    step: int
    call: str
    field: str
    instead: str
    expected: str
    found: str


@dataclass(frozen=True)
class Learnt:
    """A switch or value of the profile: what it is, and why nothing else."""

    key: str
    meaning: str
    value: Any
    status: Source
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Bug:
    """A rule that a build breaks: in `broken` of the `of` experiments that test it.

    `cases` are what it explains to the end, `beside` those in which it shows too, so that they speak for nothing else.
    """

    rule: str
    text: str
    broken: int
    of: int
    cases: tuple[str, ...]
    evidence: tuple[Evidence, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """Return one line for people."""
        return f"this build breaks {self.rule} in {self.broken} of {self.of} experiments: {self.text}"


@dataclass
class Identification:
    """Everything that was found out. `problem` is set when the build could not be asked at all.

    `cases` are the sessions that the evidence names: each can be repeated on any engine.
    """

    build: str
    sha256: str
    size: int
    problem: str = ""
    tried: tuple[str, ...] = ()
    checksum: Checksum | None = None
    features: Found | None = None
    fields: Mapping[str, LearntField] = field(default_factory=dict)
    texts: Mapping[Status, Text] = field(default_factory=dict)
    learnt: Sequence[Learnt] = ()
    bugs: Sequence[Bug] = ()
    profile: Profile = field(default_factory=Profile)
    cases: Mapping[str, Case] = field(default_factory=dict)
    experiments: int = 0
    calls: int = 0
    skipped: int = 0
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """Return 0 when all that can be observed is settled and nothing contradicts the contract, else 1."""
        return int(bool(self.problem or self.bugs))
