"""A batch of random sessions, the unit of work: one seed and number always give the same sessions and answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Final

from refruntime.cases.features import Found
from refruntime.cases.steps import Call, Load, Step, Write, split_place
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.contract.profile import Profile
from refruntime.differential.case_result import CaseResult
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import FINE
from refruntime.engines.base import Engine, EngineTrap
from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from refruntime.fuzz.finding import FuzzFinding, case_of, finding_of
from refruntime.fuzz.pool import Pool, make_pool
from refruntime.fuzz.reached import LOCKED, NO_STATUS, TRAP, Reach, Reached
from refruntime.host_numbers import Number
from refruntime.runtime import Machine
from refruntime.trace import Tracer


class WatchedEngine(ReferenceEngine):
    """A reference engine that counts its calls in `reached`."""

    def __init__(self, abi: ExportedABI, reached: Reached) -> None:
        super().__init__(abi)
        self._reached = reached
        self._locked = False

    def call(self, export: str, *arguments: Number) -> int | None:
        """Call an export as the oracle does."""
        before = self._situation()
        outcome = NO_STATUS
        try:
            result = super().call(export, *arguments)
            if result is not None and EXPORTS_BY_NAME[export].returns_status:
                outcome = str(result)
        except EngineTrap:
            self._locked, outcome = True, TRAP
            raise
        finally:
            self._reached.counts[Reach(before, export, outcome, self._situation())] += 1
        return result

    def _situation(self) -> str:
        return LOCKED if self._locked else self.abi.state.value


@dataclass(frozen=True)
class WatchedOracle(Oracle):
    """An oracle whose engines count what they reach."""

    reached: Reached = field(default_factory=Reached)

    def engine(
        self, machine: Callable[[Profile], Machine] = Machine.fresh, tracer: Tracer | None = None
    ) -> ReferenceEngine:
        """Return a fresh engine that counts."""
        return WatchedEngine(super().engine(machine, tracer).abi, self.reached)


SESSIONS: Final = 100
RULES: Final = 25
"""Sessions of a batch, and how many rules a session draws at most."""


@dataclass(frozen=True)
class FuzzSubject:
    """What is fuzzed: `fresh` makes instances of a build, `oracle` stands beside them.

    `offered` are the diagnostics fields that the build shows, `absent` the features that it does not have.
    """

    fresh: Callable[[], Engine]
    oracle: Oracle
    offered: frozenset[str]
    absent: frozenset[str] = frozenset()

    @property
    def pool(self) -> Pool:
        """Return the artifacts that sessions on it load."""
        return make_pool(self.oracle.profile, self.absent)

    @property
    def profile(self) -> Profile:
        """Return the contract that it is held to."""
        return self.oracle.profile

    def judge(self, name: str, steps: Sequence[Step], reached: Reached | None = None) -> CaseResult:
        """Run one session on both sides, count what it reached, and judge it."""
        oracle = self.oracle
        if reached is not None:
            oracle = WatchedOracle(oracle.profile, oracle.numerics, oracle.exact, oracle.bind, reached=reached)
        suite = Suite(self.fresh, oracle)
        return suite.judge(case_of(name, steps, self.pool), self.offered, Found(), explain=False)


@dataclass
class FuzzSums:
    """What sessions did; `differing` counts all that differ."""

    sessions: int = 0
    steps: int = 0
    tokens: int = 0
    fields: int = 0
    undefined: int = 0
    differing: int = 0
    reached: Reached = field(default_factory=Reached)


SUMS: Final = tuple(each.name for each in fields(FuzzSums) if each.name != "reached")
"""The numbers of them, by name."""


@dataclass
class BatchResult(FuzzSums):
    """What a batch did; `findings` has the first session of each group."""

    findings: dict[str, FuzzFinding] = field(default_factory=dict)


class SessionDiffers(Exception):
    """Raised to the engine that shrinks: this session shows what is looked for."""


def run_batch(
    subject: FuzzSubject, seed: int, number: int, sessions: int = SESSIONS, rules: int = RULES
) -> BatchResult:
    """Run a batch and return what it reached and found."""
    from refruntime.fuzz.machine import run_machine

    result = BatchResult()

    def judge(steps: Sequence[Step]) -> None:
        judged = subject.judge(f"fuzz/{seed}-{number}", steps, result.reached)
        result.sessions += 1
        result.steps += judged.comparison.steps
        result.tokens += judged.comparison.tokens
        result.fields += sum(judged.comparison.compared.values())
        result.undefined += judged.run is None and judged.verdict in FINE
        if judged.verdict not in FINE:
            result.differing += 1
            found = finding_of(judged)
            result.findings.setdefault(found.group, found)

    run_machine(subject.pool, judge, batch_seed(seed, number), sessions, rules, turn=number, shrink=False)
    return result


def shrink_finding(
    subject: FuzzSubject, found: FuzzFinding, seed: int, number: int, sessions: int = SESSIONS, rules: int = RULES
) -> FuzzFinding:
    """Return the smallest session of the group of a finding of this batch that Hypothesis and a last pass reach."""
    from refruntime.fuzz.machine import run_machine

    smallest = [found]

    def judge(steps: Sequence[Step]) -> None:
        shown = _shows(subject, found.group, steps)
        if shown is not None:
            smallest[0] = min(smallest[0], shown, key=_size)
            raise SessionDiffers

    with suppress(SessionDiffers):
        run_machine(subject.pool, judge, batch_seed(seed, number), sessions, rules, turn=number, shrink=True)
    return _without_needless(subject, smallest[0])


def batch_seed(seed: int, number: int) -> int:
    """Return the seed of one batch of a run."""
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:8], "little")


def _size(finding: FuzzFinding) -> tuple[int, int, int]:
    return finding.calls, len(finding.steps), len(repr(finding.steps))


def _shows(subject: FuzzSubject, group: str, steps: Sequence[Step]) -> FuzzFinding | None:
    judged = subject.judge("fuzz/shrinking", steps)
    if judged.verdict in FINE:
        return None
    found = finding_of(judged)
    return found if found.group == group else None


def _without_needless(subject: FuzzSubject, found: FuzzFinding) -> FuzzFinding:
    """Leave out every step that the difference does not need: rules of several calls bring some along."""
    place = len(found.steps) - 2
    while place >= 0:
        fewer = _without(found.steps, place)
        shown = _shows(subject, found.group, fewer)
        if shown is not None:
            found = replace(shown, steps=shown.steps)
            place = min(place, len(found.steps) - 1)
        place -= 1
    return found


def _without(steps: Sequence[Step], place: int) -> tuple[Step, ...]:
    """Leave out a step, and with an allocation everything that uses its name."""
    gone = steps[place]
    if not (isinstance(gone, Call) and gone.bind is not None):
        return (*steps[:place], *steps[place + 1 :])
    name, behind = gone.bind, steps[place + 1 :]
    end = next((at for at, step in enumerate(behind) if isinstance(step, Call) and step.bind == name), len(behind))
    kept = [step for step in behind[:end] if not _uses(step, name)]
    return (*steps[:place], *kept, *behind[end:])


def _uses(step: Step, name: str) -> bool:
    if isinstance(step, Load):
        return False
    places = [step.to] if isinstance(step, Write) else step.arguments if isinstance(step, Call) else []
    return any(isinstance(place, str) and split_place(place)[0] == name for place in places)
