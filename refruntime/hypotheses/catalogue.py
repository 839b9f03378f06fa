"""Every hypothesis: the options of the contract, and the faults that runtimes of this kind have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from refruntime.contract.profile import Profile
from refruntime.hypotheses.faults.arithmetic import arithmetic_hypotheses
from refruntime.hypotheses.faults.attention import attention_hypotheses
from refruntime.hypotheses.faults.container import container_hypotheses
from refruntime.hypotheses.faults.diagnostics import diagnostics_hypotheses
from refruntime.hypotheses.faults.dots import dot_product_hypotheses
from refruntime.hypotheses.faults.sampler import sampler_hypotheses
from refruntime.hypotheses.faults.state import state_hypotheses
from refruntime.hypotheses.faults.tokenizer import tokenizer_hypotheses
from refruntime.hypotheses.faults.weights import weight_hypotheses
from refruntime.hypotheses.hypothesis import Changes, Hypothesis


def catalogue(profile: Profile) -> tuple[Hypothesis, ...]:
    """Return all hypotheses, those first that are cheap to try: options, then faults from the outside in."""
    return (
        *option_hypotheses(profile),
        *state_hypotheses(),
        *diagnostics_hypotheses(),
        *container_hypotheses(profile),
        *tokenizer_hypotheses(),
        *sampler_hypotheses(),
        *attention_hypotheses(),
        *weight_hypotheses(),
        *arithmetic_hypotheses(),
        *dot_product_hypotheses(),
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
