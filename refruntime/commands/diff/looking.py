"""Let the witness look into a build that `diff` found to differ, before any cause is guessed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from refruntime.cases.steps import Call, Configure, Generate, Load, Step
from refruntime.differential.run import Oracle, PairRun
from refruntime.engines.base import EngineError, Limits
from refruntime.errors import ContractError
from refruntime.hypotheses.observed import Observed

MOST_LOOKS: Final = 3


@dataclass(frozen=True)
class _Generation:
    artifact: bytes
    sampling: Configure
    prompt: bytes
    tokens: int


def looker(module: bytes, oracle: Oracle, limits: Limits) -> Callable[[PairRun], Observed | None]:
    """Return a function that looks for the first wrong number of a case; None where nothing of it can be looked at.

    Only so many cases are looked at: one bug shows in hundreds.
    """
    left = MOST_LOOKS

    def look(run: PairRun) -> Observed | None:
        nonlocal left
        first = run.comparison.first
        generation = None if first is None else _generation(run.case.steps[: first.index + 1], run)
        if first is None or generation is None or not left:
            return None
        left -= 1
        from refruntime.witness.build import CannotLook, Witness
        from refruntime.witness.oracle import Sampling

        c = generation.sampling
        sampling = Sampling(c.temperature, c.top_k, c.top_p, c.seed)
        arguments = generation.artifact, generation.prompt, generation.tokens, sampling, oracle.profile
        try:
            seen = Witness(module, *arguments, numerics=oracle.numerics, limits=limits).earliest()
        except (CannotLook, EngineError, ContractError):
            return None
        found = seen.look.first
        return None if found is None else Observed(found.name, seen.position, found.pattern.kind, found.pattern.text)

    return look


def _generation(steps: tuple[Step, ...], run: PairRun) -> _Generation | None:
    """Return the generation that the last step of some belongs to; None if there is none, or no model was loaded."""
    artifact, sampling, prompt, tokens = None, Configure(), None, 0
    for step in steps:
        if isinstance(step, Load):
            artifact, prompt = run.case.models[step.model], None
        elif isinstance(step, Configure):
            sampling = step
        elif isinstance(step, Generate):
            prompt, tokens = step.prompt, step.max_new_tokens
        elif isinstance(step, Call) and step.export == "generate_next_token":
            tokens += 1
        elif isinstance(step, Call) and step.export in ("reset_context", "free_model"):
            prompt = None
    if artifact is None or not prompt or tokens < 1:
        return None
    return _Generation(artifact, sampling, prompt, tokens)
