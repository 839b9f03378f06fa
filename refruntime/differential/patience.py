"""When a build is not run again: it must not hang a whole run, nor fail alike in every case of it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Final

from refruntime.cases.observation import Broken, Observation
from refruntime.differential.verdict import Verdict

MOST_LIMITS: Final = 5
"""Cases that a limit may stop before the rest is given up: a build that always hangs must not hang the run."""

MOST_DEAD: Final = 3
"""Cases after which a build that fails alike at instantiation or at the first call is given up."""


@dataclass
class Patience:
    """Count what the cases of a run ended in. After the time `until` of `time.monotonic` no case begins."""

    until: float = math.inf
    limits: int = 0
    deaths: list[str] = field(default_factory=list)
    given_up: str = ""

    def exhausted(self) -> str:
        """Say why no further case is run, with the same words from then on; empty where one is."""
        self.given_up = self.given_up or self._reason()
        return self.given_up

    def saw(self, verdict: Verdict, death: str | None = None) -> None:
        """Take the verdict on a case that ran, and what ended it before its first answer (see `death_of`).

        Without a `death` it is nobody's matter how cases began.
        """
        self.limits += verdict is Verdict.POISONED
        if death is not None:
            self.deaths.append(death)

    def _reason(self) -> str:
        if time.monotonic() >= self.until:
            return "not run: the time of the whole run is used up"
        if self.limits == MOST_LIMITS:
            return f"not run: a limit stopped the build {self.limits} times before"
        if len(self.deaths) == MOST_DEAD and len(set(self.deaths)) == 1 and self.deaths[0]:
            return f"not run: the build does not live: {self.deaths[0]}"
        return ""


def death_of(first: Observation) -> str:
    """Return what ended a case in its first step; empty for an answer."""
    return first.detail if isinstance(first, Broken) else ""
