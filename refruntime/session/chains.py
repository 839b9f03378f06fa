"""Which runtime's sampler explains the tokens of a session: its logits and settings, asked of every known chain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refruntime.contract.profile import Profile
from refruntime.runtime import Taken
from refruntime.samplers.chain import SamplerError, Settings
from refruntime.samplers.explain import ChainExplanation, explain
from refruntime.session.state import SessionError


def explain_taken(
    taken: Sequence[Taken],
    profile: Profile,
    tokens: Sequence[int] | None = None,
    chains: Sequence[str] | None = None,
    min_p: float = 0.0,
) -> ChainExplanation:
    """Say which chain explains sampled tokens, or others in their place: `tokens`, one for each.

    Logits are those that the session had at each step, so other tokens have to be forced there for a text to count.
    SessionError if the settings changed on the way, or tokens were drawn with another generator in between.
    """
    if not taken:
        raise SessionError("no token was sampled yet; `step` samples one")
    first = taken[0]
    if any((each.sampling, each.owner) != (first.sampling, first.owner) for each in taken):
        raise SessionError("the sampling values changed between these tokens; one set of them is needed")
    sampling = first.sampling
    observed = [each.token for each in taken] if tokens is None else list(tokens)
    rows = np.stack([each.logits for each in taken])
    try:
        settings = Settings(
            _shortest(sampling.temperature), sampling.top_k, _shortest(sampling.top_p), min_p, sampling.seed
        )
        return explain(rows, settings, observed, chains, profile, first.generator.draws)
    except SamplerError as error:
        raise SessionError(str(error)) from error


def _shortest(value: np.float32) -> float:
    """Return the number that a person wrote: 0.8, not the nearest float32, which other runtimes read otherwise."""
    return float(str(np.float32(value)))
