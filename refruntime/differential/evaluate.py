"""Judge what a build answered to a case: the oracle follows it, the answers are compared, near ties are followed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from refruntime.cases.observation import Observation
from refruntime.cases.steps import Case
from refruntime.differential.compare import compare_observations
from refruntime.differential.follow import follow_ties, only_tokens_differ
from refruntime.differential.margins import Flip
from refruntime.differential.run import Oracle, PairRun
from refruntime.differential.verdict import Verdict, judge


@dataclass(frozen=True)
class Evaluation:
    """The verdict on one case with what it was made from: `ties` were followed, `flip` was not."""

    run: PairRun
    verdict: Verdict
    reason: str = ""
    ties: tuple[Flip, ...] = ()
    flip: Flip | None = None


def evaluate(case: Case, answers: list[Observation], oracle: Oracle, offered: Collection[str]) -> Evaluation:
    """Judge the answers of a build, which come from anywhere; HostMisuse where the case does what is undefined.

    `offered` are the diagnostics fields that the build is known to show (see `compare_observations`).
    """
    mine = oracle.answers(case, answers)
    comparison = compare_observations(mine, answers, offered)
    ties: tuple[Flip, ...] = ()
    flip = None
    if only_tokens_differ(case, comparison):
        followed = follow_ties(case, answers, oracle, offered)
        mine, comparison, ties, flip = followed.observations, followed.comparison, followed.ties, followed.flip
    verdict, reason = judge(mine, answers, comparison, len(ties))
    return Evaluation(PairRun(case, mine, answers, comparison), verdict, reason, ties, flip)
