"""Which generation of a host's calls can be looked into: a `generate` with the continuations behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, RESET, Call, Configure, Generate, Load, Step
from refruntime.witness.oracle import Sampling


@dataclass(frozen=True)
class GenerationRequest:
    """One generation: model, configuration, prompt, how many tokens were asked for, how many continuations follow."""

    artifact: bytes
    sampling: Sampling
    prompt: bytes
    tokens: int
    continued: int


def generation_of(steps: Sequence[Step], model: Callable[[str], bytes]) -> GenerationRequest | None:
    """Return the generation that the last of some steps belongs to; None if there is none, or no model was loaded."""
    name, configured, prompt, tokens, continued = "", Configure(), b"", 0, 0
    for step in steps:
        if isinstance(step, Load):
            name, prompt = step.model, b""
        elif isinstance(step, Configure):
            configured = step
        elif isinstance(step, Generate):
            prompt, tokens, continued = step.prompt, step.max_new_tokens, 0
        elif isinstance(step, Call) and step.export == NEXT_TOKEN.export:
            continued += 1
        elif isinstance(step, Call) and step.export in (RESET.export, FREE.export, INIT.export):
            prompt = b""
    if not name or not prompt or tokens < 1:
        return None
    c = configured
    return GenerationRequest(model(name), Sampling(c.temperature, c.top_k, c.top_p, c.seed), prompt, tokens, continued)
