"""Try a hypothesis on a case: how many steps of the build does a varied oracle answer?"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from refruntime.cases.observe import Observation, Session
from refruntime.cases.steps import Generate
from refruntime.client import Client
from refruntime.differential.compare import compare_observations, offered_fields
from refruntime.differential.run import Oracle, PairRun, guessed_tokens
from refruntime.hypotheses.hypothesis import Changes, Hypothesis, varied_engine
from refruntime.trace import Tracer


@dataclass(frozen=True)
class Trial:
    """Under a hypothesis the oracle answers `explained` of `steps` steps, counted from the start, as the build did."""

    hypothesis: Hypothesis
    explained: int
    steps: int

    @property
    def fits(self) -> bool:
        """Say whether the hypothesis explains every step."""
        return self.explained == self.steps

    @property
    def count(self) -> str:
        """Return the count in words."""
        return f"explains {self.explained} of {self.steps} steps"


def try_hypothesis(hypothesis: Hypothesis, run: PairRun, oracle: Oracle, offered: Collection[str] = ()) -> Trial:
    """Run the case of `run` on a varied oracle along the build's answers, up to the first step that differs."""
    known = offered_fields(run.build) | frozenset(offered)
    explained = 0
    for answer in varied_answers(hypothesis.changes, run, oracle):
        theirs = run.build[explained]
        if compare_observations([answer], [theirs], known).first is not None or theirs.stopped:
            break
        explained += 1
    return Trial(hypothesis, explained, len(run.case.steps))


def varied_answers(
    changes: Changes, run: PairRun, oracle: Oracle, tracer: Tracer | None = None
) -> Iterator[Observation]:
    """Yield what a varied oracle answers, step by step; it ends early where the variation cannot go on."""
    with np.errstate(all="ignore"):
        try:
            engine = varied_engine(changes, oracle, tracer)
            session = Session(Client(engine), oracle.profile, run.case.models)
            for index, step in enumerate(run.case.steps[: len(run.build)]):
                if isinstance(step, Generate):
                    engine.expect(guessed_tokens(index, run.build, engine))
                yield session.run(step)
        except Exception:  # a variation may be nonsense for this model: then it explains nothing more
            return
