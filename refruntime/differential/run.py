"""Run one case on a build and on the oracle, and compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from refruntime.cases.observe import Observation, Session
from refruntime.cases.steps import NEXT_TOKEN, Case, Generate
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.differential.compare import Comparison, compare_observations
from refruntime.engines.base import Engine
from refruntime.engines.reference import ReferenceEngine


@dataclass(frozen=True)
class PairRun:
    """One case on both sides."""

    case: Case
    reference: list[Observation]
    build: list[Observation]
    comparison: Comparison


def run_pair(case: Case, build: Engine, reference: ReferenceEngine, profile: Profile) -> PairRun:
    """Run the build first, then the oracle along the build's tokens, and compare."""
    theirs = observe(case, build, profile)
    mine = follow(case, theirs, reference, profile)
    return PairRun(case, mine, theirs, compare_observations(mine, theirs))


def observe(case: Case, engine: Engine, profile: Profile) -> list[Observation]:
    """Run a case on any engine; it ends early after a step that leaves the engine unusable."""
    session = Session(Client(engine), profile, case.models)
    observations: list[Observation] = []
    for step in case.steps:
        observations.append(session.run(step))
        if observations[-1].stopped:
            break
    return observations


def follow(case: Case, build: Sequence[Observation], reference: ReferenceEngine, profile: Profile) -> list[Observation]:
    """Run a case on the oracle with the build's tokens as a guess of what comes.

    A right guess lets one pass over the model serve the whole generation; a wrong one changes nothing but the time
    (GEN-4). The oracle runs as many steps as the build did.
    """
    session = Session(Client(reference), profile, case.models)
    observations = []
    for index in range(len(build)):
        if isinstance(case.steps[index], Generate):
            reference.expect(guessed_tokens(index, build, reference))
        observations.append(session.run(case.steps[index]))
    return observations


def guessed_tokens(index: int, build: Sequence[Observation], reference: ReferenceEngine) -> list[int]:
    """Guess what the oracle will forward after the prompt of step `index`: the tokens of the build's answers.

    The text of `generate` is encoded again, which gives the generated ids for byte vocabularies and often for others;
    `generate_next_token` names its token in the diagnostics.
    """
    runtime = reference.abi.runtime
    answer = build[index]
    if runtime is None or runtime.model is None or answer.value != 0 or not answer.result:
        return []
    tokens = runtime.model.tokenizer.encode(answer.result, add_special=False)
    for later in build[index + 1 :]:
        if later.step != NEXT_TOKEN or later.value != 0 or not later.diagnostics:
            break
        token = later.diagnostics.get("selected_token")
        if not isinstance(token, int):
            break
        tokens.append(token)
    return tokens
