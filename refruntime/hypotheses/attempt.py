"""Try a hypothesis on a case: how many steps of the build does a varied oracle answer?"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from refruntime.cases.observation import Ended, Observation, diagnostics_of
from refruntime.cases.observe import StepRunner
from refruntime.cases.steps import Generate
from refruntime.client import Client
from refruntime.differential.compare import compare_observations, offered_fields
from refruntime.differential.run import Oracle, PairRun, guessed_tokens
from refruntime.hypotheses.hypothesis import Changes, Hypothesis, varied_engine
from refruntime.trace import Tracer


@dataclass(frozen=True)
class Attempt:
    """Under a hypothesis the oracle answers `explained` of `steps` steps, counted from the start, as the build did.

    `distance` is that of the logits which both show at the next step, infinite where they show none.
    """

    hypothesis: Hypothesis
    explained: int
    steps: int
    distance: float = math.inf

    @property
    def fits(self) -> bool:
        """Say whether the hypothesis explains every step."""
        return self.explained == self.steps

    @property
    def count(self) -> str:
        """Return the count in words."""
        return f"explains {self.explained} of {self.steps} steps"


def try_hypothesis(hypothesis: Hypothesis, run: PairRun, oracle: Oracle, offered: Collection[str] = ()) -> Attempt:
    """Run the case of `run` on a varied oracle along the build's answers, up to the first step that differs."""
    known = offered_fields(run.build) | frozenset(offered)
    explained, distance = 0, math.inf
    for answer in varied_answers(hypothesis.changes, run, oracle):
        theirs = run.build[explained]
        if compare_observations([answer], [theirs], known).first is not None or isinstance(theirs, Ended):
            distance = logit_distance(shown_logits(answer), shown_logits(theirs))
            break
        explained += 1
    return Attempt(hypothesis, explained, len(run.case.steps), distance)


def shown_logits(observation: Observation) -> dict[int, float]:
    """Return the finite logits that a diagnostics document shows, by token; none where it is not as it should be."""
    shown = diagnostics_of(observation).get("top_tokens")
    pairs = [pair for pair in shown if isinstance(pair, list) and len(pair) == 2] if isinstance(shown, list) else []
    return {token: float(logit) for token, logit in pairs if isinstance(token, int) and isinstance(logit, (int, float))}


def logit_distance(mine: Mapping[int, float], theirs: Mapping[int, float]) -> float:
    """Return the greatest distance of two logits of the same token; infinite where no token is in both."""
    return max((abs(mine[token] - theirs[token]) for token in mine if token in theirs), default=math.inf)


def varied_answers(
    changes: Changes, run: PairRun, oracle: Oracle, tracer: Tracer | None = None
) -> Iterator[Observation]:
    """Yield what a varied oracle answers, step by step; it ends early where the variation cannot go on."""
    with np.errstate(all="ignore"):
        try:
            engine = varied_engine(changes, oracle, tracer)
            session = StepRunner(Client(engine), oracle.profile, run.case.models)
            for index, step in enumerate(run.case.steps[: len(run.build)]):
                if isinstance(step, Generate):
                    engine.expect(guessed_tokens(index, run.build, engine))
                yield session.run(step)
        except Exception:  # a variation may be nonsense for this model: then it explains nothing more
            return
