"""What a run of random sessions has reached: situations, calls in them, statuses, and where each call led."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from refruntime.contract.exports import EXPORTS
from refruntime.contract.profile import Profile
from refruntime.runtime import State

LOCKED: Final = "lock unavailable"
"""The situation behind a trap (MEM-6); it is none of the published states."""

SITUATIONS: Final = (*(state.value for state in State), LOCKED)

TRAP: Final = "trap"
NO_STATUS: Final = ""
"""Outcome of an export that returns no status."""

_ALWAYS: Final = {
    "init_runtime": (0,),
    "load_model": (0, 1, 2, 4, 5, 6, 7, 8, 9, 10),
    "set_sampling_config": (0, 2),
    "generate": (0, 1, 2, 3, 11, 12, 14),
    "generate_next_token": (0, 11, 12, 14),
    "reset_context": (0,),
    "free_model": (0,),
}
"""What each status export returns under every profile (sections 2 to 7); behind a trap each returns 13 too (ERR-2)."""

_UNINITIALIZED, _INITIALIZED, _READY, _CONTINUATION, _ERROR, _FREED = (state.value for state in State)

TRANSITIONS: Final = frozenset(
    {
        *((_UNINITIALIZED, after) for after in (_UNINITIALIZED, _INITIALIZED, _READY, _ERROR, _FREED)),
        *((_INITIALIZED, after) for after in (_INITIALIZED, _READY, _ERROR, _FREED)),
        *((_READY, after) for after in (_READY, _CONTINUATION, _ERROR, _FREED)),
        *((_CONTINUATION, after) for after in (_READY, _CONTINUATION, _ERROR, _FREED)),
        *((_ERROR, after) for after in (_INITIALIZED, _READY, _CONTINUATION, _ERROR, _FREED)),
        *((_FREED, after) for after in (_READY, _ERROR, _FREED)),
        *((before, LOCKED) for before in SITUATIONS),
    }
)
"""Every step from one situation to another, or to itself, that some call makes (sections 4 to 7)."""


class Reach(NamedTuple):
    """One kind of call: situation before, export, status as a decimal (or TRAP, NO_STATUS), situation after."""

    before: str
    export: str
    outcome: str
    after: str


@dataclass
class Reached:
    """How often each kind of call was made."""

    counts: Counter[Reach] = field(default_factory=Counter)

    @property
    def calls(self) -> int:
        """Return the number of calls of exports, those that read answers among them."""
        return self.counts.total()

    def add(self, other: Reached) -> None:
        """Add what another run has reached."""
        self.counts.update(other.counts)

    def document(self) -> list[list[Any]]:
        """Return JSON-ready rows, sorted."""
        return sorted([*kind, count] for kind, count in self.counts.items() if count)

    @classmethod
    def from_document(cls, rows: Iterable[Iterable[Any]]) -> Reached:
        """Read what `document` returned."""
        counts: Counter[Reach] = Counter()
        for before, export, outcome, after, count in rows:
            counts[Reach(before, export, outcome, after)] += count
        return cls(counts)

    def parts(self, profile: Profile) -> dict[str, ReachedPairs]:
        """Return what was reached of the calls in each situation, the statuses of each export, the transitions."""
        reached: Mapping[str, set[tuple[str, str]]] = {
            "situations and calls": {(kind.before, kind.export) for kind in self.counts},
            "calls and statuses": {(kind.export, kind.outcome) for kind in self.counts},
            "transitions": {(kind.before, kind.after) for kind in self.counts},
        }
        return {name: ReachedPairs(wanted, reached[name] & wanted) for name, wanted in required(profile).items()}


@dataclass(frozen=True)
class ReachedPairs:
    """Pairs that a run has to reach, and those that it did."""

    wanted: frozenset[tuple[str, str]]
    reached: frozenset[tuple[str, str]] | set[tuple[str, str]]

    @property
    def missing(self) -> list[str]:
        """Return what was not reached, in words."""
        return [" -> ".join(pair) for pair in sorted(self.wanted - self.reached)]


def required(profile: Profile) -> dict[str, frozenset[tuple[str, str]]]:
    """Return what a whole run reaches under a profile."""
    statuses = {(export, str(status)) for export, codes in _ALWAYS.items() for status in (*codes, 13)}
    if profile.invalid_output_utf8 == "3":
        statuses.add(("generate_next_token", "3"))
    return {
        "situations and calls": frozenset((before, export.name) for before in SITUATIONS for export in EXPORTS),
        "calls and statuses": frozenset(statuses),
        "transitions": TRANSITIONS,
    }
