"""What was compared under which conditions: the head of every report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from refruntime.contract.profile import CONTRACT_VERSION, Profile

LABEL: Final = 9


@dataclass(frozen=True)
class About:
    """What was compared under which conditions.

    `build` is the name to show, `facts` are further (label, value) and `command` gives the comparison again. `path` is
    the build as a command takes it, with `options` that every command needs; None where it cannot be run again.
    `models` are the files of a person's own models, `filters` those that chose the cases.
    """

    build: str
    sha256: str
    profile: Profile
    profile_source: str = "assumed"
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    command: str = "refruntime diff"
    path: str | None = None
    options: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()

    @property
    def as_run(self) -> str:
        """Return the command that gives the same cases again."""
        return " ".join([self.command, *(f"--filter {shlex.quote(each)}" for each in self.filters)])


def row(label: str, text: str, indent: int = 0) -> str:
    """Return a line of a report: a label and what stands behind it."""
    return f"{label:<{LABEL + indent}} {text}"


def header_lines(about: About) -> list[str]:
    """Return the conditions of the comparison, one fact a line."""
    lines = [
        row("build", f"{about.build}  sha256 {about.sha256}"),
        row("contract", f"{CONTRACT_VERSION} ({about.profile_source})"),
        row("profile", f"{about.profile.fingerprint}  {about.profile.summary}"),
    ]
    lines += [row(label, value) for label, value in about.facts.items()]
    return lines + [row("note", note) for note in about.notes]
