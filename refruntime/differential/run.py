"""Run one case on a build and on the oracle, and compare."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

from refruntime.cases.observation import Ended, Observation, code_of, diagnostics_of, result_of
from refruntime.cases.observe import StepRunner
from refruntime.cases.steps import NEXT_TOKEN, Case, Generate
from refruntime.client import Client
from refruntime.contract.limits import MAX_RESULT_BYTES
from refruntime.contract.profile import Profile
from refruntime.differential.compare import Comparison, compare_observations
from refruntime.differential.remembered import Remembered
from refruntime.engines.base import Engine
from refruntime.engines.reference import ReferenceEngine
from refruntime.exports import ExportedABI
from refruntime.model.binding import Binder, BoundModels
from refruntime.numerics import F64, CompiledSeq32, Numerics
from refruntime.runtime import Machine, Runtime
from refruntime.tokenizers.base import Tokenizer
from refruntime.trace import Tracer


@dataclass(frozen=True)
class PairRun:
    """One case on both sides."""

    case: Case
    reference: list[Observation]
    build: list[Observation]
    comparison: Comparison


@dataclass(frozen=True)
class Oracle:
    """How the reference side of comparisons is made: fresh engines that share nothing but models already bound.

    `exact` is the numeric profile that says how wrong float32 may be; `remembered` keeps answers between runs.
    """

    profile: Profile = field(default_factory=Profile)
    numerics: Numerics = field(default_factory=CompiledSeq32)
    exact: Numerics = field(default_factory=F64)
    bind: Binder = field(default_factory=BoundModels)
    remembered: Remembered | None = None

    def answers(self, case: Case, build: Sequence[Observation]) -> list[Observation]:
        """Answer a case along the answers of a build (see `follow`), from memory where it was answered before."""
        remembered = self.remembered if self.numerics.name == CompiledSeq32.name else None
        known = None if remembered is None else remembered.answers(self.profile, case, len(build))
        if known is not None:
            return known
        mine = follow(case, build, self.engine(), self.profile)
        if remembered is not None:
            remembered.keep(self.profile, case, mine)
        return mine

    def engine(
        self, machine: Callable[[Profile], Machine] = Machine.fresh, tracer: Tracer | None = None
    ) -> ReferenceEngine:
        """Return a fresh engine; `machine` may be a variation of the machine (an experiment, never the oracle)."""
        make = partial(Runtime, bind=self.bind, machine=machine)
        return ReferenceEngine(ExportedABI(self.profile, numerics=self.numerics, tracer=tracer, runtime_type=make))


def run_pair(
    case: Case, build: Engine, reference: ReferenceEngine, profile: Profile, offered: Collection[str] | None = None
) -> PairRun:
    """Run the build first, then the oracle along the build's tokens, and compare.

    `offered` are the diagnostics fields that the build is known to show (see `compare_observations`).
    """
    theirs = observe(case, build, profile)
    mine = follow(case, theirs, reference, profile)
    return PairRun(case, mine, theirs, compare_observations(mine, theirs, offered))


def observe(case: Case, engine: Engine, profile: Profile, into: list[Observation] | None = None) -> list[Observation]:
    """Run a case on any engine; it ends early after a step that leaves the engine unusable.

    The answers go into the list `into`, if one is given, as they come.
    """
    session = StepRunner(Client(engine), profile, case.models)
    observations: list[Observation] = [] if into is None else into
    for step in case.steps:
        observations.append(session.run(step))
        if isinstance(observations[-1], Ended):
            break
    return observations


def follow(
    case: Case,
    build: Sequence[Observation],
    reference: ReferenceEngine,
    profile: Profile,
    into: list[Observation] | None = None,
) -> list[Observation]:
    """Run a case on the oracle with the build's tokens as a guess of what comes.

    A right guess lets one pass over the model serve the whole generation; a wrong one changes nothing but the time
    (GEN-4). The oracle runs as many steps as the build did, unless a limit of this machine stops it. The answers go
    into the list `into`, if one is given, as they come.
    """
    session = StepRunner(Client(reference), profile, case.models)
    observations: list[Observation] = [] if into is None else into
    for index in range(len(build)):
        if isinstance(case.steps[index], Generate):
            reference.expect(guessed_tokens(index, build, reference))
        observations.append(session.run(case.steps[index]))
        if isinstance(observations[-1], Ended):
            break
    return observations


def guessed_tokens(index: int, build: Sequence[Observation], reference: ReferenceEngine) -> list[int]:
    """Guess what the oracle will forward after the prompt of step `index`: the tokens of the build's answers.

    The text of `generate` is encoded again, which gives the generated ids for byte vocabularies and often for others;
    `generate_next_token` names its token in the diagnostics.
    """
    runtime = reference.abi.runtime
    answer = build[index]
    if runtime is None or runtime.model is None or code_of(answer) != 0:
        return []
    text = result_of(answer)
    if not text:
        return []
    tokens = encoded_answer(runtime.model.tokenizer, text)
    for later in build[index + 1 :]:
        if later.step != NEXT_TOKEN or code_of(later) != 0:
            break
        token = diagnostics_of(later).get("selected_token")
        if not isinstance(token, int):
            break
        tokens.append(token)
    return tokens


def encoded_answer(tokenizer: Tokenizer, text: bytes) -> list[int]:
    """Encode the text of a build's answer again; no tokens for bytes that no right answer can have (GEN-9, GEN-10)."""
    if len(text) > MAX_RESULT_BYTES:
        return []
    try:
        text.decode("utf-8")
        return tokenizer.encode(text, add_special=False)
    except Exception:  # the text is a build's: whatever is wrong with it, there is no guess
        return []
