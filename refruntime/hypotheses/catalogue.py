"""Every hypothesis: the options of the contract, and the faults that runtimes of this kind have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from refruntime.contract.profile import Profile
from refruntime.hypotheses.faults import (
    arithmetic,
    attention,
    container,
    diagnostics,
    dots,
    sampler,
    state,
    tokenizer,
    weights,
)
from refruntime.hypotheses.hypothesis import Changes, Hypothesis


def catalogue(profile: Profile) -> tuple[Hypothesis, ...]:
    """Return all hypotheses, those first that are cheap to try: options, then faults from the outside in."""
    return (
        *option_hypotheses(profile),
        *state.FAULTS,
        *diagnostics.FAULTS,
        *container.FAULTS,
        *container.refusals(profile),
        *tokenizer.FAULTS,
        *sampler.FAULTS,
        *attention.FAULTS,
        *weights.FAULTS,
        *arithmetic.FAULTS,
        *dots.FAULTS,
    )


def with_option(profile: Profile, attribute: str, option: Any) -> Profile:
    """Return the profile with another option of one rule."""
    changes: dict[str, Any] = {attribute: option}
    return replace(profile, **changes)


def option_hypotheses(profile: Profile) -> Iterator[Hypothesis]:
    """Yield every other option of every switch of the profile."""
    for switch in Profile.switches():
        for option in switch.options:
            if option != getattr(profile, switch.attribute):
                yield Hypothesis(
                    f"{switch.key}={option}",
                    "option",
                    f"{switch.meaning}: {option}",
                    switch.rule,
                    Changes(profile=with_option(profile, switch.attribute, option)),
                    option=(switch.key, option),
                )
