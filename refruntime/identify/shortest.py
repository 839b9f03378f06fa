"""Find the shortest session that still contradicts: what is left in it has a part in the bug."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from refruntime.cases.steps import Call, Case, Configure, Generate, Step
from refruntime.differential.run import Oracle, PairRun
from refruntime.identify.asking import AskedBuild
from refruntime.identify.bugs import pair_run
from refruntime.identify.settle import Experiment, Settlement
from refruntime.memory import HostMisuse

MOST_TRIES: Final = 60
"""Sessions that may be asked for one that contradicts."""


@dataclass
class Shortener:
    """A build and the oracle, on which sessions are tried that have less in them."""

    build: AskedBuild
    oracle: Oracle
    settlement: Settlement
    tries: int = field(default=0, init=False)

    def shortest(self, run: PairRun) -> PairRun:
        """Return a run that differs as this one does, with as few and as plain steps as were found."""
        self.tries = 0
        best = self._tried(run, run.case.steps[: _end(run)]) or run
        place = len(best.case.steps) - 2
        while place >= 0:
            steps = best.case.steps
            if not _needed(steps, place):
                best = self._tried(best, (*steps[:place], *steps[place + 1 :])) or best
            place -= 1
        for index, step in enumerate(best.case.steps):
            for plainer in _plainer(step):
                fewer = self._tried(best, (*best.case.steps[:index], plainer, *best.case.steps[index + 1 :]))
                if fewer is not None:
                    best = fewer
                    break
        return best

    def run(self, case: Case) -> PairRun:
        """Run a session on both sides; HostMisuse: it does what the contract leaves undefined."""
        answers = self.settlement.translation.read_all(self.build.ask(case))
        return self.of(Experiment(case, answers))

    def of(self, item: Experiment) -> PairRun:
        """Return the run of a session that was asked before."""
        return pair_run(item, self.oracle, self.settlement)

    def often(self, run: PairRun) -> bool:
        """Say whether a session differs with other seeds too: what one seed alone shows is a matter of its draw."""
        for seed in OTHER_SEEDS:
            steps = tuple(replace(step, seed=seed) if isinstance(step, Configure) else step for step in run.case.steps)
            try:
                if self.run(replace(run.case, name=f"{run.case.name}-seed-{seed}", steps=steps)).comparison.first:
                    return True
            except HostMisuse:
                continue
        return False

    def _tried(self, before: PairRun, steps: tuple[Step, ...]) -> PairRun | None:
        """Return the run of other steps; None where it does not differ in the same way in its last step."""
        self.tries += 1
        if self.tries > MOST_TRIES:
            return None
        name = before.case.name.removesuffix(SHORTENED) + SHORTENED
        try:
            run = self.run(replace(before.case, name=name, steps=steps))
        except HostMisuse:
            return None
        first, old = run.comparison.first, before.comparison.first
        if first is None or old is None or _end(run) != len(steps):
            return None
        same = first.field == old.field and _kind(steps[first.index]) == _kind(before.case.steps[old.index])
        return run if same else None


SHORTENED: Final = "-shortened"
OTHER_SEEDS: Final = tuple(0x9E3779B97F4A7C15 * number % 2**64 for number in range(2, 8))
"""Seeds whose first draws are spread: those of small seeds are all near 0."""


def _end(run: PairRun) -> int:
    """Return how many steps there are up to the first that differs."""
    first = run.comparison.first
    return len(run.case.steps) if first is None else min(first.index + 1, len(run.case.steps))


def _kind(step: Step) -> str:
    return step.export if isinstance(step, Call) else type(step).__name__


def _needed(steps: tuple[Step, ...], place: int) -> bool:
    """Say whether a later step names what a step binds."""
    step = steps[place]
    name = step.bind if isinstance(step, Call) else None
    return name is not None and any(name in repr(later) for later in steps[place + 1 :])


def _plainer(step: Step) -> Iterator[Step]:
    """Yield steps that ask for less, the plainest first: fewer tokens, then no part of a configuration that is unusual.

    What of a configuration cannot be made usual has a part in the bug.
    """
    if isinstance(step, Generate):
        yield from (replace(step, max_new_tokens=count) for count in (1, 2, 4, 8) if count < step.max_new_tokens)
    elif isinstance(step, Configure) and step.temperature > 0:
        usual = replace(step, temperature=1.0, top_k=USUAL_TOP_K, top_p=1.0)
        yield from dict.fromkeys(
            each
            for each in (
                usual,
                replace(usual, top_p=step.top_p),
                replace(usual, top_k=step.top_k),
                replace(usual, temperature=step.temperature),
                replace(step, top_p=1.0),
                replace(step, temperature=1.0),
            )
            if each != step
        )


USUAL_TOP_K: Final = 40
